package coapsec

import (
	"bytes"
	"container/list"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"

	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// transferPeer is whose body it is: an address, and who has shown a key from there.
type transferPeer struct {
	address string
	context *oscore.Context
	session any
}

// protected says whether the peer has shown a key.
func (p transferPeer) protected() bool { return p.context != nil || p.session != nil }

// owner is whose share of the room its bodies take: a key has one, from however many addresses it speaks.
func (p transferPeer) owner() transferPeer {
	if p.protected() {
		p.address = ""
	}
	return p
}

// transferKey names a body. digest is over the code and the options by which block-wise operations are told apart
// (RFC 9175 §3.3), Request-Tag among them.
type transferKey struct {
	peer   transferPeer
	digest [sha256.Size]byte
	answer bool // the body goes to the peer
}

func uploadKeyOf(request *Request) transferKey {
	text := make([]byte, 1, 64)
	text[0] = byte(request.Code)
	for i := range request.Options {
		o := &request.Options[i]
		// Elective options with the bits of NoCacheKey (RFC 7252 §5.4.6) and Observe (RFC 7641 §2) tell nothing apart.
		if o.ID == message.Block1 || o.ID == message.Block2 || o.ID&0x1f == 0x1c || o.ID == message.Observe {
			continue
		}
		text = binary.BigEndian.AppendUint16(text, uint16(o.ID))
		text = binary.BigEndian.AppendUint32(text, uint32(len(o.Value)))
		text = append(text, o.Value...)
	}
	peer := request.Peer
	return transferKey{transferPeer{peer.Address, peer.Context, peer.Session}, sha256.Sum256(text), false}
}

func answerKeyOf(request *Request) transferKey {
	key := uploadKeyOf(request)
	key.answer = true
	return key
}

// transfers holds the bodies under way: uploads that are not complete yet, and answers whose blocks are being fetched. When
// there is no room the one longest untouched goes: a peer's own, if the peer has too much, so that one cannot take the room
// of others.
type transfers struct {
	o BlockwiseOptions

	mu    sync.Mutex
	all   map[transferKey]*transfer
	peers map[transferPeer]*transfersOfPeer // by owner
	order list.List                         // of *transfer, the longest untouched first
	bytes int
}

type transfersOfPeer struct {
	order list.List // as transfers.order
	bytes int
}

type transfer struct {
	key     transferKey
	body    []byte
	answer  message.Message // what every block of an answer carries
	charged int             // bytes counted for it
	touched time.Time
	inAll   *list.Element
	ofPeer  *list.Element
}

func newTransfers(o BlockwiseOptions) *transfers {
	o.Total /= 2
	return &transfers{o: o, all: map[transferKey]*transfer{}, peers: map[transferPeer]*transfersOfPeer{}}
}

// add takes one block. It returns the body when that is complete, else the code to answer: 2.31 while blocks are
// missing at the end, 4.08 if one is missing before this one. A block that came before is taken as often as it comes.
// Its end must be within MaxBody.
func (t *transfers) add(key transferKey, part block, payload []byte) ([]byte, codes.Code) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.o.Now()
	upload := t.live(key, now)
	switch {
	case upload.holds(part, payload):
		return nil, codes.Continue
	case part.number == 0:
		t.drop(upload)
		upload = t.start(key)
	case upload == nil || part.offset() != len(upload.body):
		return nil, codes.RequestEntityIncomplete
	}
	if !part.more {
		t.drop(upload)
		return append(upload.body, payload...), 0
	}
	upload.body = append(upload.body, payload...)
	t.touch(upload, now)
	return nil, codes.Continue
}

// reopen puts an upload back as it was before its last block, unless the client has begun another.
func (t *transfers) reopen(key transferKey, body []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all[key] != nil {
		return
	}
	upload := t.start(key)
	upload.body = body
	t.touch(upload, t.o.Now())
}

// abandon forgets the body named key, if there is one.
func (t *transfers) abandon(key transferKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(t.all[key])
}

// keep holds an answer whose blocks the peer will ask for, in place of one to the same request. It reports false for one
// that would alone break a bound.
func (t *transfers) keep(key transferKey, answer message.Message) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.o.Now()
	t.expire(now)
	t.drop(t.all[key])
	kept := t.start(key)
	kept.body, answer.Payload = answer.Payload, nil
	kept.answer = answer
	if kept.size() > min(t.o.PerPeer, t.o.Total) {
		t.drop(kept)
		return false
	}
	t.touch(kept, now)
	return true
}

// kept returns the answer that keep has held under key, and gives it another lifetime. Its payload must not be changed.
func (t *transfers) kept(key transferKey) (message.Message, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.o.Now()
	kept := t.live(key, now)
	if kept == nil {
		return message.Message{}, false
	}
	t.touch(kept, now)
	answer := kept.answer
	answer.Payload = kept.body
	return answer, true
}

// holds reports whether the block, one that is not the last, is in the body already.
func (f *transfer) holds(part block, payload []byte) bool {
	if f == nil || !part.more {
		return false
	}
	end := part.offset() + len(payload)
	return end <= len(f.body) && bytes.Equal(f.body[part.offset():end], payload)
}

func (t *transfers) start(key transferKey) *transfer {
	peer := t.peers[key.peer.owner()]
	if peer == nil {
		peer = &transfersOfPeer{}
		t.peers[key.peer.owner()] = peer
	}
	f := &transfer{key: key}
	f.inAll = t.order.PushBack(f)
	f.ofPeer = peer.order.PushBack(f)
	t.all[key] = f
	return f
}

// size is what f counts for.
func (f *transfer) size() int {
	size := uploadOverhead + len(f.body)
	for i := range f.answer.Options {
		size += len(f.answer.Options[i].Value)
	}
	return size
}

// touch charges f for what it holds, makes it the newest, and makes room.
func (t *transfers) touch(f *transfer, now time.Time) {
	peer := t.peers[f.key.peer.owner()]
	more := f.size() - f.charged
	f.charged += more
	f.touched = now
	t.bytes += more
	peer.bytes += more
	t.order.MoveToBack(f.inAll)
	peer.order.MoveToBack(f.ofPeer)
	for peer.bytes > t.o.PerPeer && peer.order.Len() > 1 {
		t.drop(peer.order.Front().Value.(*transfer))
	}
	for t.bytes > t.o.Total && t.order.Len() > 1 {
		t.drop(t.order.Front().Value.(*transfer))
	}
}

// live returns what is held under key, nil for nothing or what stood still too long.
func (t *transfers) live(key transferKey, now time.Time) *transfer {
	t.expire(now)
	f := t.all[key]
	if f != nil && now.Sub(f.touched) >= t.o.Lifetime {
		t.drop(f)
		return nil
	}
	return f
}

// expire drops a few bodies that stood still too long: each call makes at most one, so that none stays for long.
func (t *transfers) expire(now time.Time) {
	for range maxForgottenAtOnce {
		oldest := t.order.Front()
		if oldest == nil || now.Sub(oldest.Value.(*transfer).touched) < t.o.Lifetime {
			return
		}
		t.drop(oldest.Value.(*transfer))
	}
}

// drop forgets f, which may be nil.
func (t *transfers) drop(f *transfer) {
	if f == nil {
		return
	}
	peer := t.peers[f.key.peer.owner()]
	t.order.Remove(f.inAll)
	peer.order.Remove(f.ofPeer)
	delete(t.all, f.key)
	t.bytes -= f.charged
	peer.bytes -= f.charged
	if peer.order.Len() == 0 {
		delete(t.peers, f.key.peer.owner())
	}
}
