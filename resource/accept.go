package resource

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/latchkey-ace/latchkey/internal/checks"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// Origin says how an upload came.
type Origin struct {
	Server  bool   // over the channel with the authorization server, and so now and from it
	Address string // transport address, for the log
}

// TokenOpener opens the tokens of one device's shape. It reads no clock and keeps nothing.
type TokenOpener interface {
	// Open verifies the token's protection and reads its claims. ErrBadProtection: not by a key of this issuer;
	// ErrMalformed: protected, or not even that, but not readable.
	Open(token []byte) (*pop.Claims, error)
	// Material gives the OSCORE input material that the confirmation carries or encrypts to this device (D7, D8), or
	// ErrBadConfirmation.
	Material(c pop.Confirmation) (pop.InputMaterial, error)
	// Hashes are all the hashes under which this token can stand on a revocation list (RFC 9770 §3).
	Hashes(token []byte) [][]byte
}

// offer is an upload on its way through the checks.
type offer struct {
	in       ace.AuthzInfo
	origin   Origin
	now      instant
	state    *State
	claims   *pop.Claims
	grant    pop.GrantRef
	sequence uint64
	ownID    bool
	live     bool // said by the authorization server just now: over its channel or echoing our nonce
	hashes   [][]byte
	material pop.InputMaterial
	key      []byte
}

// check is one condition of acceptance. code is the answer when it fails.
type check struct {
	code codes.Code
	test func(*Server, *offer) error
}

// acceptance stands in the order of RFC 9200 §5.10.1.1: the first that fails decides the answer, so that a token which is
// both expired and for another audience answers 4.01 and nothing is told about it but that.
var acceptance = []check{
	{codes.BadRequest, (*Server).checkForm},
	{codes.Unauthorized, (*Server).open},
	{codes.Unauthorized, (*Server).checkIssuer},
	{codes.Unauthorized, (*Server).checkBounds},
	{codes.Forbidden, (*Server).checkAudience},
	{codes.Unauthorized, (*Server).checkID},
	{codes.BadRequest, (*Server).checkScope},
	{codes.Unauthorized, (*Server).checkNonce},
	{codes.Unauthorized, (*Server).checkRevoked},
	{codes.Unauthorized, (*Server).checkEpoch},
	{codes.Forbidden, (*Server).checkLeft},
	{codes.BadRequest, (*Server).checkKey},
	{codes.Unauthorized, (*Server).checkNewer},
}

// Accept takes an upload to /authz-info: checks the token, makes a security context and remembers both durably before it
// answers (RFC 9200 §5.10.1, RFC 9203 §4.2). Every refusal is a *RefusedError; nothing is kept of a refused token but
// what its expiry teaches.
func (s *Server) Accept(_ context.Context, in ace.AuthzInfo, origin Origin) (ace.AuthzInfoAnswer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, err := s.sweep()
	if err != nil {
		return ace.AuthzInfoAnswer{}, refuse(codes.InternalServerError, err)
	}
	o := &offer{in: in, origin: origin, now: now, state: &s.state, live: origin.Server}
	answer, err := s.accept(o)
	if err != nil {
		s.tell(o.entry(Refused, err.Error()))
		return ace.AuthzInfoAnswer{}, err
	}
	return answer, nil
}

func (s *Server) accept(o *offer) (ace.AuthzInfoAnswer, error) {
	for _, c := range acceptance {
		if err := c.test(s, o); err != nil {
			if refused := new(RefusedError); errors.As(err, &refused) {
				return ace.AuthzInfoAnswer{}, refused
			}
			return ace.AuthzInfoAnswer{}, refuse(c.code, err)
		}
	}
	if o.origin.Server {
		if r := o.repeated(); r != nil {
			return ace.AuthzInfoAnswer{Nonce2: r.Nonce2, ServerRecipientID: r.ServerID}, nil
		}
	}
	record, err := s.record(o)
	if err != nil {
		return ace.AuthzInfoAnswer{}, refuse(codes.InternalServerError, err)
	}
	return s.keep(o, record)
}

// checkForm refuses what would make a context with weak or equal inputs.
func (s *Server) checkForm(o *offer) error {
	switch n := len(o.in.Nonce1); {
	case o.in.Update():
		return fmt.Errorf("%w: rights updates are not supported", ErrMalformed)
	case n < nonceSize || n > maxNonce1:
		return fmt.Errorf("%w: nonce1 of %d bytes", ErrMalformed, n)
	case len(o.in.ClientRecipientID) > maxPeerID:
		return fmt.Errorf("%w: client recipient id of %d bytes", ErrMalformed, len(o.in.ClientRecipientID))
	}
	return nil
}

func (s *Server) open(o *offer) error {
	claims, err := s.opener.Open(o.in.Token)
	if errors.Is(err, ErrMalformed) {
		return refuse(codes.BadRequest, err)
	}
	if err != nil {
		return err
	}
	o.claims = claims
	if claims.Grant != nil {
		o.grant = *claims.Grant
	}
	o.sequence, o.ownID = s.sequence(claims.ID)
	return nil
}

// sequence splits cti (D6).
func (s *Server) sequence(id []byte) (uint64, bool) {
	own, number := s.device.ID[:], id
	if len(id) != len(own)+8 || !bytes.HasPrefix(id, own) {
		return 0, false
	}
	number = id[len(own):]
	return binary.BigEndian.Uint64(number), true
}

// checkIssuer lets iss be left out, since the device knows exactly one (D7).
func (s *Server) checkIssuer(o *offer) error {
	if o.claims.Issuer != "" && o.claims.Issuer != s.device.Issuer {
		return ErrWrongIssuer
	}
	return nil
}

func (s *Server) checkBounds(o *offer) error {
	return s.valid(o.state, o.now, bounds{
		expires: o.claims.Expires, notBefore: o.claims.NotBefore, expiresIn: o.claims.ExpiresIn,
		sequence: o.sequence, hasSequence: o.ownID,
	})
}

func (s *Server) checkAudience(o *offer) error {
	if checks.Audience && o.claims.Audience != s.audience {
		return ErrWrongAudience
	}
	return nil
}

// checkID comes after the audience, so that another device's token is told apart from a forged id.
func (s *Server) checkID(o *offer) error {
	if !o.ownID {
		return ErrForeignID
	}
	return nil
}

// checkScope demands that every right is one of the device's actions: what a device does not understand it cannot
// refuse later (RFC 9200 §5.10.1.1).
func (s *Server) checkScope(o *offer) error {
	if o.claims.Scope.Empty() || !o.claims.Scope.Subset(s.rights) {
		return ErrUnknownScope
	}
	if n := len(o.claims.Scope); slices.ContainsFunc(o.grant.Once, func(i uint) bool { return i >= uint(n) }) {
		return fmt.Errorf("%w: once names no entry", ErrUnknownScope)
	}
	return nil
}

// checkNonce consumes the nonce. The authorization server's own channel shows the same: that it speaks now.
func (s *Server) checkNonce(o *offer) error {
	if o.claims.CNonce != nil && s.nonces.take(o.claims.CNonce, o.now.uptime) {
		o.live = true
		return nil
	}
	if s.options.RequireCNonce && !o.origin.Server {
		return ErrNoCNonce
	}
	return nil
}

func (s *Server) checkRevoked(o *offer) error {
	o.hashes = s.opener.Hashes(o.in.Token)
	for i := range o.state.Revoked {
		r := &o.state.Revoked[i]
		if checks.Revocation && slices.ContainsFunc(o.hashes, func(h []byte) bool { return bytes.Equal(h, r.Hash) }) {
			return ErrRevoked
		}
	}
	return nil
}

func (s *Server) checkEpoch(o *offer) error {
	switch {
	case o.grant.Epoch < o.state.Epoch:
		return ErrOldEpoch
	case !o.live && epochTooFar(o.state.Epoch, o.grant.Epoch):
		s.wantNonce = true // the phone can cure it: a token that echoes a nonce of ours is live
		return fmt.Errorf("%w: epoch", ErrStep)
	}
	return nil
}

// epochTooFar is D16 for the epoch, which counts unix seconds (D4). The first ever has nothing to be measured against.
func epochTooFar(current, next uint64) bool {
	return current != 0 && next > current && next-current > uint64(MaxStep/time.Second)
}

// checkLeft refuses a token whose every action is used up.
func (s *Server) checkLeft(o *offer) error {
	r := Record{Grant: o.grant, Rights: o.claims.Scope}
	if !r.anythingLeft(o.state) {
		return ErrUsed
	}
	return nil
}

func (s *Server) checkKey(o *offer) error {
	if err := s.checkProfile(o.claims); err != nil {
		return err
	}
	m, err := s.opener.Material(o.claims.Confirmation)
	if err != nil {
		return err
	}
	if err := usable(m); err != nil {
		return fmt.Errorf("%w: %w", ErrBadConfirmation, err)
	}
	o.material, o.key = m, fingerprint(m)
	return nil
}

// checkProfile: the claim may be left out only where the confirmation itself says OSCORE (D7).
func (s *Server) checkProfile(c *pop.Claims) error {
	implied := c.Profile == 0 && c.Confirmation.OSCORE != nil
	if c.Profile != pop.ProfileCoAPOSCORE && !implied {
		return fmt.Errorf("%w: profile %d", ErrBadConfirmation, c.Profile)
	}
	return nil
}

func usable(m pop.InputMaterial) error {
	switch {
	case len(m.ID) == 0:
		return errors.New("no id")
	case m.ContextID != nil:
		return errors.New("id context is not supported")
	case m.Version > 1:
		return errors.New("unknown oscore version")
	case m.HKDF != 0 && m.HKDF != hkdfSHA256:
		return errors.New("unknown hkdf")
	}
	return nil
}

// hkdfSHA256 is direct+HKDF-SHA-256's hash as OSCORE_Input_Material names it: HMAC 256/256 (RFC 9203 §3.2.1).
const hkdfSHA256 = 5

// fingerprint names a possession key. Ids alone would let two issuers' keys, or two keys with a short id, meet.
func fingerprint(m pop.InputMaterial) []byte {
	h := sha256.New()
	h.Write([]byte{byte(len(m.ID))})
	h.Write(m.ID)
	h.Write(m.MasterSecret)
	return h.Sum(nil)[:16]
}

// checkNewer: of two tokens for one key the higher sequence number wins, whatever the order of arrival.
func (s *Server) checkNewer(o *offer) error {
	for i := range o.state.Sessions {
		r := &o.state.Sessions[i]
		if !bytes.Equal(r.Key, o.key) {
			continue
		}
		if r.Sequence > o.sequence || r.Sequence == o.sequence && !r.sameToken(o.hashes) {
			return ErrSuperseded
		}
	}
	return nil
}

func (r *Record) sameToken(hashes [][]byte) bool {
	return len(hashes) > 0 && len(r.Hashes) > 0 && bytes.Equal(r.Hashes[0], hashes[0])
}

// repeated finds the unused context that this very upload made before (D18).
func (o *offer) repeated() *Record {
	for i := range o.state.Sessions {
		r := &o.state.Sessions[i]
		if !r.Used && r.sameToken(o.hashes) && bytes.Equal(r.Nonce1, o.in.Nonce1) && bytes.Equal(r.ClientID, o.in.ClientRecipientID) {
			return r
		}
	}
	return nil
}

func (s *Server) record(o *offer) (Record, error) {
	nonce2 := make([]byte, nonceSize)
	if _, err := io.ReadFull(s.rand, nonce2); err != nil {
		return Record{}, fmt.Errorf("nonce2: %w", err)
	}
	id, err := s.freeID(o.in.ClientRecipientID)
	if err != nil {
		return Record{}, err
	}
	return Record{
		Key: o.key, Hashes: o.hashes, Sequence: o.sequence, Grant: o.grant, Rights: o.claims.Scope,
		Expires: o.claims.Expires, NotBefore: o.claims.NotBefore, ExpiresIn: o.claims.ExpiresIn,
		Material: Material{o.material.MasterSecret, o.material.Salt, o.material.Algorithm},
		Nonce1:   o.in.Nonce1, Nonce2: nonce2, ClientID: o.in.ClientRecipientID, ServerID: id,
		Server: o.origin.Server,
	}, nil
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

// keep makes the context, stores everything in one step and only then lets the context be found.
func (s *Server) keep(o *offer, r Record) (ace.AuthzInfoAnswer, error) {
	next := o.state.clone()
	next.NextSession++
	r.Number = next.NextSession
	if err := makeRoom(&next, o, &r); err != nil {
		return ace.AuthzInfoAnswer{}, refuse(codes.ServiceUnavailable, err)
	}
	session, err := s.newSession(r, oscore.Options{})
	if err != nil {
		return ace.AuthzInfoAnswer{}, refuse(codes.BadRequest, fmt.Errorf("%w: %w", ErrBadConfirmation, err))
	}
	next.raiseEpoch(o.grant.Epoch)
	next.Sessions = append(next.Sessions, r)
	next.count(o.claims.ExpiresIn, o.sequence, o.now)
	now := o.now
	if !o.claims.IssuedAt.IsZero() {
		now.raise(o.claims.IssuedAt, o.live)
	}
	entry := next.log(o.entry(Accepted, ""))
	if err := s.save(next, now); err != nil {
		return ace.AuthzInfoAnswer{}, refuse(codes.InternalServerError, err)
	}
	if o.live {
		s.wantNonce = false
	}
	session.opened, session.openedAt = true, now.uptime
	s.live[string(r.ServerID)] = session
	s.tell(entry)
	return ace.AuthzInfoAnswer{Nonce2: r.Nonce2, ServerRecipientID: r.ServerID}, nil
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
	if len(next.Sessions) >= MaxSessions {
		return fmt.Errorf("%w: sessions", ErrNoRoom)
	}
	return nil
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

// count starts the life of an exi token at its first acceptance; a repost finds it running and changes nothing.
func (s *State) count(expiresIn time.Duration, sequence uint64, now instant) {
	if expiresIn == 0 || slices.ContainsFunc(s.Counts, func(c Count) bool { return c.Sequence == sequence }) {
		return
	}
	s.Counts = append(s.Counts, Count{Sequence: sequence, ExpiresIn: expiresIn, Boot: now.boot, Started: now.uptime})
	if len(s.Counts) > MaxCounts {
		lowest := slices.MinFunc(s.Counts, func(a, b Count) int { return cmp.Compare(a.Sequence, b.Sequence) })
		s.expire(lowest.Sequence)
	}
}

func (o *offer) entry(result Result, reason string) Entry {
	e := Entry{Action: actionAccept, Result: result, Reason: reason, Grant: o.grant.Grant}
	return o.now.stamp(e)
}
