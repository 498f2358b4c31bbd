package resource

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"

	"github.com/latchkey-ace/latchkey/internal/checks"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// Session is a live association with one client: an accepted token and the security context made from it, or the key of its
// DTLS handshakes. It is a name for what Server knows; its context must be used by whoever unprotects requests.
type Session struct {
	number  uint64
	kid     string
	context *oscore.Context // nil: coap_dtls
	psk     []byte          // nil: coap_oscore
	opened  instant         // its N2 was sent; zero: not in this run of the program
	used    bool            // every action is used up, the key is dropped
	usedAt  instant
}

// Context is the session's OSCORE context, nil in the profile coap_dtls.
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
	if r.Profile == pop.ProfileCoAPDTLS {
		return s.newKeyed(r), nil
	}
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
		s.show(session)
	}
	return nil
}

// reservation is the oscore.Sequence of one session.
type reservation struct {
	server *Server
	number uint64
}

// Reserve implements oscore.Sequence. A session that is gone needs no record once the store knows that it is gone: it
// cannot come back then.
func (r *reservation) Reserve(limit uint64) error {
	s := r.server
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.state.clone()
	record, ok := next.session(r.number)
	if !ok {
		return s.flush()
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

// hold makes next the state without storing it: what is lost with it by a power cut must be of no account.
func (s *Server) hold(next State, now instant) {
	next.Time = now.mark()
	s.state, s.unsaved = next, true
	s.prune(now)
}

// prune forgets the contexts of sessions that are gone. One whose key was used up answers "used" a while longer (D14).
func (s *Server) prune(now instant) {
	for session := range s.sessions() {
		if _, ok := s.state.session(session.number); ok {
			continue
		}
		if age, ok := now.elapsed(session.usedAt.boot, session.usedAt.uptime); session.used && ok && age < Linger {
			continue
		}
		s.hide(session)
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
	return !checks.Echo || echo || now.within(s.opened, FreshFor)
}

func (s *Server) record(o *offer) (Record, error) {
	r := Record{
		Key: o.key, Hashes: o.hashes, Sequence: o.sequence, Grant: o.grant, Rights: o.claims.Scope,
		Expires: o.claims.Expires, NotBefore: o.claims.NotBefore, ExpiresIn: o.claims.ExpiresIn,
		Material: Material{o.material.MasterSecret, o.material.Salt, o.material.Algorithm}, Server: o.origin.Server,
	}
	if o.bare {
		r.Profile, r.KeyID = pop.ProfileCoAPDTLS, o.material.ID
		return r, nil
	}
	if o.updates {
		return r, nil
	}
	nonce2 := make([]byte, nonceSize)
	if _, err := io.ReadFull(s.rand, nonce2); err != nil {
		return Record{}, fmt.Errorf("nonce2: %w", err)
	}
	id, err := s.freeID(o.in.ClientRecipientID)
	if err != nil {
		return Record{}, err
	}
	r.Nonce1, r.Nonce2, r.ClientID, r.ServerID = o.in.Nonce1, nonce2, o.in.ClientRecipientID, id
	return r, nil
}

// freeID draws a recipient id that no context of ours uses, the channel's included, and that is not the client's own
// (RFC 9203 §4.2).
func (s *Server) freeID(clientID []byte) ([]byte, error) {
	for range 64 {
		id := make([]byte, idSize)
		if _, err := io.ReadFull(s.rand, id); err != nil {
			return nil, fmt.Errorf("recipient id: %w", err)
		}
		_, taken := s.live[string(id)]
		if !taken && !bytes.Equal(id, clientID) && !slices.ContainsFunc(s.reservedIDs, func(r []byte) bool { return bytes.Equal(r, id) }) {
			return id, nil
		}
	}
	return nil, fmt.Errorf("%w: recipient ids", ErrNoRoom)
}

// keep makes the context, stores everything in one step and only then lets the context be found. A token that anyone has
// seen can be shown again and again, so a context for one that is known already, which nobody has used yet, is not worth
// wearing out the flash: the first request under it stores it.
func (s *Server) keep(o *offer, r Record) error {
	next := o.state.clone()
	if !next.update(o, &r) && !next.renew(&r) {
		next.NextSession++
		r.Number = next.NextSession
		if err := makeRoom(&next, o, &r); err != nil {
			return refuse(codes.ServiceUnavailable, err)
		}
	}
	if !next.count(o) {
		return refuse(codes.ServiceUnavailable, fmt.Errorf("%w: running tokens", ErrNoRoom))
	}
	session, err := s.sessionOf(o, r)
	if err != nil {
		return refuse(codes.BadRequest, fmt.Errorf("%w: %w", ErrBadConfirmation, err))
	}
	next.raiseEpoch(o.grant.Epoch)
	next.Sessions = append(next.Sessions, r)
	now := o.now
	if !o.claims.IssuedAt.IsZero() {
		now.raise(o.claims.IssuedAt, o.live)
	}
	entry := next.log(o.entry(Accepted, ""))
	if !o.origin.Server && o.known() {
		s.hold(next, now)
	} else if err := s.save(next, now); err != nil {
		return refuse(codes.InternalServerError, err)
	}
	if o.live {
		s.wantNonce = false
	}
	if session.context != nil && !o.updates { // an upload says nothing about when a handshake will be, nor an update of N2
		session.opened = now
	}
	s.show(session)
	s.tell(entry)
	return nil
}

// makeRoom applies the rules of D18 about slots. A context that was used, or that came from the authorization server, is
// never displaced by an upload that anyone could have replayed.
func makeRoom(next *State, o *offer, r *Record) error {
	same := func(x *Record) bool { return bytes.Equal(x.Key, r.Key) }
	usedToken := slices.ContainsFunc(next.Sessions, func(x Record) bool { return x.Used && x.sameToken(o.hashes) })
	switch {
	case !r.Server:
		next.drop(func(x *Record) bool { return same(x) && x.unconfirmed() })
	case usedToken: // a late retry of an upload that the client has overtaken by its own
		r.Server = false
		next.drop(func(x *Record) bool { return same(x) && x.unconfirmed() })
	default:
		next.drop(same)
	}
	if r.unconfirmed() && next.unconfirmed() >= MaxUnconfirmed || len(next.Sessions) >= MaxSessions {
		next.dropOldestUnconfirmed()
	}
	if len(next.Sessions) >= MaxSessions || o.full(o.sessions(next)) {
		return fmt.Errorf("%w: sessions", ErrNoRoom)
	}
	return nil
}

// known reports whether a session of this very token is there.
func (o *offer) known() bool {
	return slices.ContainsFunc(o.state.Sessions, func(r Record) bool { return r.sameToken(o.hashes) })
}

// full reports whether n sessions or counts are all that a grant may have. The owner's own tokens, which have no grant, have
// no such bound: nobody is to lock him out but himself.
func (o *offer) full(n int) bool { return o.grant.Grant != (pop.GrantID{}) && n >= MaxOfGrant }

func (o *offer) sessions(s *State) (n int) {
	for i := range s.Sessions {
		if s.Sessions[i].Grant.Grant == o.grant.Grant {
			n++
		}
	}
	return n
}

func (o *offer) counts(s *State) (n int) {
	for _, c := range s.Counts {
		if c.Grant == o.grant.Grant {
			n++
		}
	}
	return n
}

func (r *Record) unconfirmed() bool { return !r.Used && !r.Server }

func (s *State) unconfirmed() (n int) {
	for i := range s.Sessions {
		if s.Sessions[i].unconfirmed() {
			n++
		}
	}
	return n
}

// dropOldestUnconfirmed relies on sessions standing in order of arrival.
func (s *State) dropOldestUnconfirmed() {
	if i := slices.IndexFunc(s.Sessions, func(r Record) bool { return r.unconfirmed() }); i >= 0 {
		s.Sessions = slices.Delete(s.Sessions, i, i+1)
	}
}

// count starts the life of an exi token at its first acceptance; a repost finds it running and changes nothing. When there
// are too many, the lowest number counts as expired, but no grant may end others' tokens by the mass of its own: false.
func (s *State) count(o *offer) bool {
	exi := o.claims.ExpiresIn
	if exi == 0 || slices.ContainsFunc(s.Counts, func(c Count) bool { return c.Sequence == o.sequence }) {
		return true
	}
	mass := o.full(o.counts(s))
	s.Counts = append(s.Counts, Count{
		Sequence: o.sequence, Grant: o.grant.Grant, ExpiresIn: exi, Boot: o.now.boot, Started: o.now.uptime,
	})
	if len(s.Counts) <= MaxCounts {
		return true
	}
	lowest := slices.MinFunc(s.Counts, func(a, b Count) int { return cmp.Compare(a.Sequence, b.Sequence) })
	s.expire(lowest.Sequence)
	return !mass || lowest.Grant == o.grant.Grant
}
