package resource

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/latchkey-ace/latchkey/internal/checks"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/cwt"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// Origin says how an upload came.
type Origin struct {
	Server  bool     // over the channel with the authorization server, and so now and from it
	Address string   // transport address, for the log
	Session *Session // protected by this session: a token that names its key updates its rights; nil: by none
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
	bare     bool // the token alone: for coap_dtls
	origin   Origin
	now      instant
	state    *State
	claims   *pop.Claims
	grant    pop.GrantRef
	sequence uint64
	ownID    bool
	live     bool // said by the authorization server just now: over its channel or echoing our nonce
	hashes   [][]byte
	told     *pop.Claims // by the authorization server; nil: the token says it
	silence  error       // why it said nothing
	material pop.InputMaterial
	key      []byte
	updates  bool // the token names the key of origin.Session: its rights are replaced, and nothing else
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
// answers (RFC 9200 §5.10.1, RFC 9203 §4.2). Of a token that is known already it stores nothing anew: a power cut then costs
// the new context, and the client shows the token again. Every refusal is a *RefusedError; nothing is kept of a refused
// token but what its expiry teaches.
func (s *Server) Accept(ctx context.Context, in ace.AuthzInfo, origin Origin) (ace.AuthzInfoAnswer, error) {
	o := &offer{in: in, origin: origin}
	o.told, o.silence = s.ask(ctx, in.Token)
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.accept(o)
	if err != nil {
		return ace.AuthzInfoAnswer{}, err
	}
	if origin.Session != nil { // an update: there is nothing to agree on
		return ace.AuthzInfoAnswer{}, nil
	}
	return ace.AuthzInfoAnswer{Nonce2: r.Nonce2, ServerRecipientID: r.ServerID}, nil
}

// accept gives the record that the upload made or found.
func (s *Server) accept(o *offer) (Record, error) {
	now, err := s.sweep()
	if err != nil {
		return Record{}, refuse(codes.InternalServerError, err)
	}
	o.now, o.state, o.live = now, &s.state, o.origin.Server || o.told != nil
	r, err := s.examine(o)
	if err != nil {
		s.tell(o.entry(Refused, err.Error()))
	}
	return r, err
}

func (s *Server) examine(o *offer) (Record, error) {
	for _, c := range acceptance {
		if err := c.test(s, o); err != nil {
			if refused := new(RefusedError); errors.As(err, &refused) {
				return Record{}, refused
			}
			return Record{}, refuse(c.code, err)
		}
	}
	if r := o.repeated(); r != nil {
		return *r, nil
	}
	record, err := s.record(o)
	if err != nil {
		return Record{}, refuse(codes.InternalServerError, err)
	}
	return record, s.keep(o, record)
}

// checkForm refuses what would make a context with weak or equal inputs.
func (s *Server) checkForm(o *offer) error {
	switch n := len(o.in.Nonce1); {
	case o.bare, o.origin.Session != nil:
	case o.in.Update():
		return fmt.Errorf("%w: an update outside of the context that it updates", ErrMalformed)
	case n < nonceSize || n > maxNonce1:
		return fmt.Errorf("%w: nonce1 of %d bytes", ErrMalformed, n)
	case len(o.in.ClientRecipientID) > maxPeerID:
		return fmt.Errorf("%w: client recipient id of %d bytes", ErrMalformed, len(o.in.ClientRecipientID))
	}
	return nil
}

func (s *Server) open(o *offer) error {
	claims, err := o.told, o.silence
	if claims == nil && err == nil {
		claims, err = s.opener.Open(o.in.Token)
	}
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
	if o.claims.CNonce != nil && s.nonces.take(o.claims.CNonce, o.now) {
		o.live = true
		return nil
	}
	if s.options.RequireCNonce && !o.origin.Server {
		return ErrNoCNonce
	}
	return nil
}

func (s *Server) checkRevoked(o *offer) error {
	o.hashes = s.hashes(o)
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
	if o.claims.Confirmation.KeyID != nil || o.origin.Session != nil && !o.bare {
		return s.checkSeries(o)
	}
	if o.bare {
		return s.checkPSK(o)
	}
	if err := s.checkProfile(o.claims); err != nil {
		return err
	}
	m, err := s.materialOf(o)
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
	if s.DTLS() || c.Profile != pop.ProfileCoAPOSCORE && !implied {
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

// repeated finds what this very upload made before: the unused context of the server's (D18), or the key.
func (o *offer) repeated() *Record {
	for i := range o.state.Sessions {
		r := &o.state.Sessions[i]
		if (o.bare || o.updates) && r.sameToken(o.hashes) {
			return r
		}
		if o.origin.Server && !r.Used && r.sameToken(o.hashes) && bytes.Equal(r.Nonce1, o.in.Nonce1) && bytes.Equal(r.ClientID, o.in.ClientRecipientID) {
			return r
		}
	}
	return nil
}

func (o *offer) entry(result Result, reason string) Entry {
	e := Entry{Action: actionAccept, Result: result, Reason: reason, Grant: o.grant.Grant}
	return o.now.stamp(e)
}

// cwtOpener opens the CWTs of the device's one shape; a token of another shape is not protected as far as it knows.
type cwtOpener struct {
	keys    cwt.Keys
	decrypt cwt.KeyOpener // zero where no Encrypted_COSE_Key is taken
}

// Open implements TokenOpener.
func (c *cwtOpener) Open(token []byte) (*pop.Claims, error) {
	claims, err := cwt.Open(token, c.keys)
	switch {
	case errors.Is(err, cwt.ErrProtection):
		return nil, fmt.Errorf("%w: %w", ErrBadProtection, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return claims, nil
}

func newCWTOpener(d *provision.Device) (*cwtOpener, error) {
	sealed := func(purpose provision.Purpose) cose.FindSymmetric {
		// The key id is an input of the derivation, so a rotated key needs no announcement (D2).
		return func(_ cose.Algorithm, kid cose.KeyID) (cose.SymmetricKey, error) { return d.SymmetricKey(purpose, kid) }
	}
	c := &cwtOpener{keys: cwt.Keys{Decrypt: sealed(provision.PurposeToken)}}
	if d.Token.Signed() {
		c.keys.Verify = func(_ cose.Algorithm, kid cose.KeyID) (*ecdsa.PublicKey, error) { return verifier(d.ASKeys, kid) }
		c.keys.RequireSignature = true
	}
	switch d.Token {
	case provision.ShapeEncrypt0:
	case provision.ShapeSign1:
		c.decrypt.Shared = sealed(provision.PurposeCnf)
	case provision.ShapeSign1ECDH:
		c.decrypt.Private = func(cose.Algorithm, cose.KeyID) (*ecdh.PrivateKey, error) { return d.PrivateKey, nil }
	default:
		return nil, fmt.Errorf("tokens of shape %s need an opener of their own", d.Token)
	}
	return c, nil
}

func verifier(keys []*cose.Key, kid cose.KeyID) (*ecdsa.PublicKey, error) {
	for _, key := range keys {
		if bytes.Equal(key.ID(), kid) {
			return key.Public(), nil
		}
	}
	return nil, errors.New("unknown key id")
}

// Material implements TokenOpener. Which form a confirmation may have follows from the shape: input material only where
// the whole token is encrypted, an encrypted key only where it is signed (D7).
func (c *cwtOpener) Material(cnf pop.Confirmation) (pop.InputMaterial, error) {
	switch {
	case cnf.OSCORE != nil && !c.keys.RequireSignature:
		return *cnf.OSCORE, nil
	case cnf.Encrypted != nil && c.keys.RequireSignature:
		key, err := cwt.DecryptKey(cnf.Encrypted, c.decrypt)
		if err != nil {
			return pop.InputMaterial{}, fmt.Errorf("%w: %w", ErrBadConfirmation, err)
		}
		return pop.InputMaterial{ID: key.ID(), MasterSecret: key.Secret()}, nil
	}
	return pop.InputMaterial{}, fmt.Errorf("%w: not the kind this device takes", ErrBadConfirmation)
}

// Hashes implements TokenOpener.
func (c *cwtOpener) Hashes(token []byte) [][]byte {
	hash := cwt.Hash(token)
	return [][]byte{hash[:]}
}
