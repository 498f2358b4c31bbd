package coapsec

import (
	"bytes"
	"container/list"
	"sync"
	"time"

	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// uploads holds the bodies that are not complete yet. When there is no room the oldest goes: a peer's own, if the peer
// has too much, so that one cannot take the room of others.
type uploads struct {
	o BlockwiseOptions

	mu    sync.Mutex
	all   map[uploadKey]*upload
	peers map[uploadPeer]*uploadsOfPeer
	order list.List // of *upload, the longest untouched first
	bytes int
}

type uploadsOfPeer struct {
	order list.List // as uploads.order
	bytes int
}

type upload struct {
	key     uploadKey
	body    []byte
	charged int // bytes counted for it
	touched time.Time
	inAll   *list.Element
	ofPeer  *list.Element
}

func newUploads(o BlockwiseOptions) *uploads {
	o.Total /= 2
	return &uploads{o: o, all: map[uploadKey]*upload{}, peers: map[uploadPeer]*uploadsOfPeer{}}
}

// add takes one block. It returns the body when that is complete, else the code to answer: 2.31 while blocks are
// missing at the end, 4.08 if one is missing before this one. A block that came before is taken as often as it comes.
// Its end must be within MaxBody.
func (u *uploads) add(key uploadKey, part block, payload []byte) ([]byte, codes.Code) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now := u.o.Now()
	u.expire(now)
	upl := u.all[key]
	switch {
	case upl.holds(part, payload):
		return nil, codes.Continue
	case part.number == 0:
		u.drop(upl)
		upl = u.start(key)
	case upl == nil || part.offset() != len(upl.body):
		return nil, codes.RequestEntityIncomplete
	}
	if !part.more {
		u.drop(upl)
		return append(upl.body, payload...), 0
	}
	upl.body = append(upl.body, payload...)
	u.touch(upl, now)
	return nil, codes.Continue
}

// reopen puts an upload back as it was before its last block, unless the client has begun another.
func (u *uploads) reopen(key uploadKey, body []byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.all[key] != nil {
		return
	}
	upl := u.start(key)
	upl.body = body
	u.touch(upl, u.o.Now())
}

// abandon forgets the upload named key, if there is one.
func (u *uploads) abandon(key uploadKey) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.drop(u.all[key])
}

// holds reports whether the block, one that is not the last, is in the body already.
func (upl *upload) holds(part block, payload []byte) bool {
	if upl == nil || !part.more {
		return false
	}
	end := part.offset() + len(payload)
	return end <= len(upl.body) && bytes.Equal(upl.body[part.offset():end], payload)
}

func (u *uploads) start(key uploadKey) *upload {
	peer := u.peers[key.peer]
	if peer == nil {
		peer = &uploadsOfPeer{}
		u.peers[key.peer] = peer
	}
	upl := &upload{key: key}
	upl.inAll = u.order.PushBack(upl)
	upl.ofPeer = peer.order.PushBack(upl)
	u.all[key] = upl
	return upl
}

// touch charges upl for what it holds, makes it the newest, and makes room.
func (u *uploads) touch(upl *upload, now time.Time) {
	peer := u.peers[upl.key.peer]
	more := uploadOverhead + len(upl.body) - upl.charged
	upl.charged += more
	upl.touched = now
	u.bytes += more
	peer.bytes += more
	u.order.MoveToBack(upl.inAll)
	peer.order.MoveToBack(upl.ofPeer)
	for peer.bytes > u.o.PerPeer && peer.order.Len() > 1 {
		u.drop(peer.order.Front().Value.(*upload))
	}
	for u.bytes > u.o.Total && u.order.Len() > 1 {
		u.drop(u.order.Front().Value.(*upload))
	}
}

// expire drops a few uploads that stood still too long: each call makes at most one, so that none stays for long.
func (u *uploads) expire(now time.Time) {
	for range maxForgottenAtOnce {
		oldest := u.order.Front()
		if oldest == nil || now.Sub(oldest.Value.(*upload).touched) < u.o.Lifetime {
			return
		}
		u.drop(oldest.Value.(*upload))
	}
}

// drop forgets upl, which may be nil.
func (u *uploads) drop(upl *upload) {
	if upl == nil {
		return
	}
	peer := u.peers[upl.key.peer]
	u.order.Remove(upl.inAll)
	peer.order.Remove(upl.ofPeer)
	delete(u.all, upl.key)
	u.bytes -= upl.charged
	peer.bytes -= upl.charged
	if peer.order.Len() == 0 {
		delete(u.peers, upl.key.peer)
	}
}
