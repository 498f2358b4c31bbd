package coapsec

import (
	"crypto/subtle"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// OptionEcho is the number of the Echo option (RFC 9175 §2.2).
const OptionEcho message.OptionID = 252

// echoes are the outstanding Echo values, in memory only: after a restart nothing that was asked before is fresh. There
// are two generations, so that forgetting needs no search: values made in the last lifetime, and those before.
type echoes struct {
	now    func() time.Time
	random io.Reader

	mu         sync.Mutex
	young, old map[*oscore.Context][]echo
	turned     time.Time // when young was begun
}

// echo is one value; it is worth something only for the context and the address it was made for.
type echo struct {
	value   [echoSize]byte
	address string
	made    time.Time
}

// issue makes a value for a peer.
func (e *echoes) issue(c *oscore.Context, address string) ([]byte, error) {
	made := echo{address: address, made: e.now()}
	if _, err := io.ReadFull(e.random, made.value[:]); err != nil {
		return nil, fmt.Errorf("echo: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.turn(made.made)
	outstanding := e.young[c]
	if len(outstanding) == MaxEchoes {
		outstanding = outstanding[1:]
	}
	if outstanding == nil && len(e.young) >= MaxEchoContexts {
		for any := range e.young {
			delete(e.young, any)
			break
		}
	}
	e.young[c] = append(outstanding, made)
	return made.value[:], nil
}

// spend says whether value is outstanding for context and address and at most EchoLifetime old, and consumes it.
func (e *echoes) spend(c *oscore.Context, address string, value []byte) bool {
	now := e.now()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.turn(now)
	for _, generation := range []map[*oscore.Context][]echo{e.young, e.old} {
		for i, known := range generation[c] {
			if subtle.ConstantTimeCompare(known.value[:], value) != 1 || known.address != address {
				continue
			}
			rest := append(generation[c][:i:i], generation[c][i+1:]...)
			if generation[c] = rest; len(rest) == 0 {
				delete(generation, c)
			}
			age := now.Sub(known.made)
			return age >= 0 && age <= EchoLifetime
		}
	}
	return false
}

// turn makes the young values old ones once they are all about to expire.
func (e *echoes) turn(now time.Time) {
	age := now.Sub(e.turned)
	if e.young != nil && age >= 0 && age <= EchoLifetime {
		return
	}
	e.old = e.young
	if age > 2*EchoLifetime {
		e.old = nil
	}
	e.young, e.turned = map[*oscore.Context][]echo{}, now
}

// Challenge is a 4.01 with a fresh Echo for the peer and nothing else (RFC 8613 appendix B.1.2): a request that comes back
// with it within EchoLifetime, under the same context and from the same address, has Peer.Fresh set, once. Without a
// context there is nothing an Echo could be bound to, and the answer is a bare 4.01.
func (s *Security) Challenge(p Peer) message.Message {
	m := message.Message{Code: codes.Unauthorized}
	if p.Context == nil {
		return m
	}
	value, err := s.echoes.issue(p.Context, p.Address)
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
