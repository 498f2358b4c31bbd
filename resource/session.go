package resource

import (
	"bytes"
	"fmt"
	"time"

	"github.com/latchkey-ace/latchkey/internal/checks"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/oscore"
)

// Session is a live association with one client: an accepted token and the security context made from it. It is a name
// for what Server knows; its context must be used by whoever unprotects requests.
type Session struct {
	number   uint64
	kid      string
	context  *oscore.Context
	opened   bool          // its N2 was sent in this run of the program
	openedAt time.Duration // uptime then
	used     bool          // every action is used up, the key is dropped
	usedAt   time.Duration
}

// Context is the session's OSCORE context.
func (s *Session) Context() *oscore.Context { return s.context }

// Session finds the live session whose client sends with this kid. An expired one is not found: its context must not be
// used any more (RFC 9203 §4.3). When the store fails, what has expired is still found, and Decide refuses everything.
func (s *Server) Session(kid []byte) (*Session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// A client that hears "no such context" gives up its key, which a full disk is no reason for.
	_, _ = s.sweep()
	session, ok := s.live[string(kid)]
	return session, ok
}

// newSession derives the context of a record (RFC 9203 §4.3).
func (s *Server) newSession(r Record, o oscore.Options) (*Session, error) {
	o.Sequence = &reservation{server: s, number: r.Number}
	context, err := oscore.New(oscore.Params{
		MasterSecret: r.Material.Secret,
		MasterSalt:   pop.MasterSalt(r.Material.Salt, r.Nonce1, r.Nonce2),
		SenderID:     r.ClientID,
		RecipientID:  r.ServerID,
		Algorithm:    r.Material.Algorithm,
	}, o)
	if err != nil {
		return nil, err
	}
	return &Session{number: r.Number, kid: string(r.ServerID), context: context}, nil
}

// restore makes the contexts of the sessions that outlived a restart: with the sender numbers that were reserved left
// unused, and with the replay window lost, so that nothing is done before an Echo came back (RFC 8613 B.1).
func (s *Server) restore() error {
	for _, r := range s.state.Sessions {
		session, err := s.newSession(r, oscore.Options{Next: r.Reserved, WindowLost: true})
		if err != nil {
			return fmt.Errorf("session %d: %w", r.Number, err)
		}
		s.live[session.kid] = session
	}
	return nil
}

// reservation is the oscore.Sequence of one session.
type reservation struct {
	server *Server
	number uint64
}

// Reserve implements oscore.Sequence. A session that is gone from the store needs no record: it cannot come back.
func (r *reservation) Reserve(limit uint64) error {
	s := r.server
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.state.clone()
	record, ok := next.session(r.number)
	if !ok {
		return nil
	}
	record.Reserved = max(record.Reserved, limit)
	return s.save(next, s.now())
}

// save makes next the state. On error nothing has changed but perhaps the disk, which is then only stricter.
func (s *Server) save(next State, now instant) error {
	next.Time = now.mark()
	if err := s.store.Save(next); err != nil {
		return fmt.Errorf("%w: %w", ErrStore, err)
	}
	s.state, s.savedAt, s.unsaved = next, now, false
	s.prune(now)
	return nil
}

// prune forgets the contexts of sessions that are gone. One whose key was used up answers "used" a while longer (D14).
func (s *Server) prune(now instant) {
	for kid, session := range s.live {
		if _, ok := s.state.session(session.number); ok {
			continue
		}
		if session.used && now.uptime-session.usedAt < Linger {
			continue
		}
		delete(s.live, kid)
	}
}

// confirm notes that the client has shown possession. The session displaces every other one of the same key (D18).
func (s *State) confirm(r *Record) (changed bool) {
	if r.Used {
		return false
	}
	r.Used = true
	key, number := r.Key, r.Number
	s.drop(func(x *Record) bool { return x.Number != number && bytes.Equal(x.Key, key) })
	return true
}

// fresh says whether a request in the session is shown to be made now: by an Echo, or because the context itself cannot
// be older (D15).
func (s *Session) fresh(echo bool, now instant) bool {
	return !checks.Echo || echo || s.opened && now.uptime-s.openedAt <= FreshFor
}

// nonces are the cnonces given out. They live in memory: after a restart none is good (RFC 9200 §5.3).
type nonces struct {
	given map[string]time.Duration // uptime when it was made
}

func (n *nonces) add(nonce []byte, uptime time.Duration) {
	if n.given == nil {
		n.given = make(map[string]time.Duration)
	}
	for value, made := range n.given {
		if uptime-made > NonceLifetime {
			delete(n.given, value)
		}
	}
	for len(n.given) >= MaxNonces {
		n.dropOldest()
	}
	n.given[string(nonce)] = uptime
}

func (n *nonces) dropOldest() {
	oldest, at := "", time.Duration(-1)
	for value, made := range n.given {
		if at < 0 || made < at {
			oldest, at = value, made
		}
	}
	delete(n.given, oldest)
}

// take consumes a nonce: the second use of one is none.
func (n *nonces) take(nonce []byte, uptime time.Duration) bool {
	made, ok := n.given[string(nonce)]
	delete(n.given, string(nonce))
	return ok && uptime-made <= NonceLifetime
}
