package coapsec

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"io"
	"sync"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// OptionEcho is the number of the Echo option (RFC 9175 §2.2).
const OptionEcho message.OptionID = 252

// echoes makes Echo values and takes them back once. Anyone who has recorded a request can make a restarted server give
// them out, so none is remembered before it comes back: a value is the time when it was made and a number, with a MAC that
// binds them to an address and to whoever has shown a key there: a context, or the session of a transport. The key lives in memory: after a restart nothing that was asked before is fresh.
type echoes struct {
	now    func() time.Time
	random io.Reader
	began  time.Time    // what values count from, so that setting the clock makes none young again
	seed   maphash.Seed // tells contexts and sessions apart

	mu         sync.Mutex
	key        []byte // nil: no value was made yet
	count      uint16
	young, old map[string]bool // spent in the last lifetime, and before that
	turned     time.Time       // when young was begun
}

func newEchoes(now func() time.Time, random io.Reader) echoes {
	return echoes{now: now, random: random, began: now(), seed: maphash.MakeSeed()}
}

// whom is what an Echo for p is bound to beside the address, nil for nothing.
func (p Peer) whom() any {
	if p.Context != nil {
		return p.Context
	}
	return p.Session
}

// issue makes a value for a peer.
func (e *echoes) issue(whom any, address string) ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.key == nil {
		key := make([]byte, sha256.Size)
		if _, err := io.ReadFull(e.random, key); err != nil {
			return nil, fmt.Errorf("echo: %w", err)
		}
		e.key = key
	}
	e.count++
	value := binary.BigEndian.AppendUint64(nil, uint64(e.now().Sub(e.began)))
	value = binary.BigEndian.AppendUint16(value, e.count)
	return append(value, e.mac(whom, address, value)...), nil
}

func (e *echoes) mac(whom any, address string, value []byte) []byte {
	h := hmac.New(sha256.New, e.key)
	h.Write(value)
	h.Write(binary.BigEndian.AppendUint64(nil, maphash.Comparable(e.seed, whom)))
	h.Write([]byte(address))
	return h.Sum(nil)[:echoMAC]
}

// spend says whether value was made for whom and address and is at most EchoLifetime old, and consumes it.
func (e *echoes) spend(whom any, address string, value []byte) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.key == nil || len(value) != echoSize {
		return false
	}
	head := value[:echoSize-echoMAC]
	if !hmac.Equal(e.mac(whom, address, head), value[len(head):]) {
		return false
	}
	now := e.now()
	age := now.Sub(e.began) - time.Duration(binary.BigEndian.Uint64(head))
	if age < 0 || age > EchoLifetime {
		return false
	}
	e.turn(now)
	// The request has been verified, so only those who hold a key can fill the table.
	if text := string(value); !e.young[text] && !e.old[text] && len(e.young) < MaxSpentEchoes {
		e.young[text] = true
		return true
	}
	return false
}

// turn makes the young values old ones once a lifetime has passed, and forgets the old ones, which are too old to be good.
func (e *echoes) turn(now time.Time) {
	age := now.Sub(e.turned)
	if e.young != nil && age >= 0 && age <= EchoLifetime {
		return
	}
	if age > 2*EchoLifetime {
		e.young = nil
	}
	e.old, e.young, e.turned = e.young, map[string]bool{}, now
}

// Challenge is a 4.01 with a fresh Echo for the peer and nothing else (RFC 8613 appendix B.1.2): a request that comes back
// with it within EchoLifetime, under the same context or session and from the same address, has Peer.Fresh set, once. Without
// either there is nothing an Echo could be bound to, and the answer is a bare 4.01.
func (s *Security) Challenge(p Peer) message.Message {
	m := message.Message{Code: codes.Unauthorized}
	whom := p.whom()
	if whom == nil {
		return m
	}
	value, err := s.echoes.issue(whom, p.Address)
	if err != nil {
		return message.Message{Code: codes.ServiceUnavailable}
	}
	m.Options = message.Options{{ID: OptionEcho, Value: value}}
	return m
}

// echoOf returns the Echo of a message, nil if there is none that RFC 9175 allows.
func echoOf(m message.Message) []byte {
	value, err := m.Options.GetBytes(OptionEcho)
	if err != nil || len(value) == 0 || len(value) > maxEcho {
		return nil
	}
	return value
}

// withEcho returns options with this Echo and no other; options stay as they are.
func withEcho(options message.Options, value []byte) message.Options {
	echoed := make(message.Options, 0, len(options)+1)
	for _, o := range options {
		if o.ID != OptionEcho {
			echoed = append(echoed, o)
		}
	}
	return echoed.Add(message.Option{ID: OptionEcho, Value: value})
}
