package jose

import (
	"crypto"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// What a DPoP proof is refused with; the text is the error code of RFC 9449 §12.2. Errors of VerifyProof wrap exactly one.
var (
	ErrInvalidProof = errors.New("invalid_dpop_proof")
	// ErrUseNonce means that the proof is good but for its nonce: answer with a fresh one (RFC 9449 §8, §9).
	ErrUseNonce = errors.New("use_dpop_nonce")
)

// ProofFor is what a DPoP proof shall be for.
type ProofFor struct {
	Method      string // as in the request line: POST
	URL         string // of the request; query and fragment are left out
	AccessToken string // only beside an access token, at a resource server
	Nonce       string // what the server gave last, empty if nothing
}

// Prove makes the value of the header DPoP (RFC 9449 §4.2). Each proof is for one request; rand gives its 128-bit jti.
func Prove(f ProofFor, key crypto.Signer, now time.Time, rand io.Reader) (string, error) {
	proof, err := prove(f, key, now, rand)
	if err != nil {
		return "", fmt.Errorf("make DPoP proof: %w", err)
	}
	return proof, nil
}

func prove(f ProofFor, key crypto.Signer, now time.Time, rand io.Reader) (string, error) {
	target, err := targetOf(f.URL)
	if err != nil {
		return "", err
	}
	if f.Method == "" || len(f.Nonce) > maxForeignID {
		return "", errors.New("no method, or a nonce that is too long")
	}
	var id [16]byte
	if _, err := io.ReadFull(rand, id[:]); err != nil {
		return "", fmt.Errorf("draw jti: %w", err)
	}
	private := map[Claim]any{ClaimMethod: f.Method, ClaimURL: target, ClaimNonce: textOrNone(f.Nonce)}
	if f.AccessToken != "" {
		private[ClaimTokenHash] = tokenHash(f.AccessToken)
	}
	payload, err := encodePayload(TypeDPoP, Registered{ID: encode64(id[:]), IssuedAt: now}, private)
	if err != nil {
		return "", err
	}
	s := Signer{Key: key}
	header, err := s.embedded(TypeDPoP)
	if err != nil {
		return "", err
	}
	return s.compact(header, payload, maxProof)
}

// embedded gives the header of a token that carries its key.
func (s Signer) embedded(t Type) ([]byte, error) {
	if s.Key == nil {
		return nil, errors.New("no signing key")
	}
	key, err := NewKey(s.Key.Public(), "")
	if err != nil {
		return nil, err
	}
	jwk, err := key.JWK()
	if err != nil {
		return nil, err
	}
	return proofHeader.encode(member{headerType, t.String()}, member{headerAlgorithm, key.alg.String()}, member{headerKey, jwk})
}

// tokenHash is ath (RFC 9449 §4.2).
func tokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return encode64(sum[:])
}

// ExpectProof says what a proof must be for. Method, URL and Now are required.
type ExpectProof struct {
	Method string // of the request
	URL    string // of the request as the world sees it: from the configuration, never from a forwarded header

	// AccessToken stands beside the proof at a resource server: then the proof must name it (ath), and Bound is required.
	AccessToken string
	// Bound is whose proof it must be: cnf.jkt of the access token, dpop_jkt of the code, the key of the refresh token. The
	// zero value takes any key, as for a first token request.
	Bound Thumbprint

	Now    time.Time
	MaxAge time.Duration // of iat, at most MaxProofAge; 0: DefaultProofAge
	Ahead  time.Duration // how far iat may lie in the future, at most MaxProofAge; 0: DefaultProofAhead

	// Nonce judges the nonce of a proof; nil demands none. A proof with a good nonce is fresh, whatever the sender's clock
	// says: iat is then not judged.
	Nonce func(nonce string) bool
	// NonceLife is how long a nonce may be good, counted from when it was given out. Required beside Nonce.
	NonceLife time.Duration

	Algorithms []Algorithm // nil: ES256, ES384 and EdDSA; HS256 is never taken
}

// Proof is a DPoP proof that has been verified.
type Proof struct {
	Key        *Key
	Thumbprint Thumbprint // for cnf.jkt
	ID         string     // jti
	IssuedAt   time.Time
	Nonce      string

	// Replay is SHA-256(thumbprint ‖ jti): a bare jti would let one client use up another's. A server that wants each proof
	// once stores it for Keep, which is always longer than the proof could be taken again, and refuses what it has stored.
	Replay [sha256.Size]byte
	Keep   time.Duration
}

// VerifyProof checks a proof as RFC 9449 §4.3 says, but that there is exactly one header DPoP, which its caller sees. It keeps
// nothing: see Proof.Replay. Errors wrap ErrInvalidProof or ErrUseNonce.
func VerifyProof(proof string, e ExpectProof) (*Proof, error) {
	target, err := e.check()
	if err != nil {
		return nil, fmt.Errorf("verify DPoP proof: %w: %w", ErrInvalidProof, err)
	}
	p, err := e.verify(proof, target)
	switch {
	case errors.Is(err, ErrUseNonce):
		return nil, fmt.Errorf("verify DPoP proof: %w", err)
	case err != nil:
		return nil, fmt.Errorf("verify DPoP proof: %w: %w", ErrInvalidProof, err)
	}
	return p, nil
}

// check refuses an expectation that forgets something.
func (e *ExpectProof) check() (target string, err error) {
	if e.MaxAge == 0 {
		e.MaxAge = DefaultProofAge
	}
	if e.Ahead == 0 {
		e.Ahead = DefaultProofAhead
	}
	switch {
	case e.Method == "" || e.Now.IsZero():
		return "", errors.New("method and time must be given")
	case e.MaxAge < 0 || e.MaxAge > MaxProofAge || e.Ahead < 0 || e.Ahead > MaxProofAge:
		return "", errors.New("window of iat is out of bounds")
	case e.AccessToken != "" && e.Bound == (Thumbprint{}):
		return "", errors.New("an access token without the key it is bound to")
	case e.Nonce != nil && e.NonceLife <= 0:
		return "", errors.New("a nonce without its lifetime")
	case slices.Contains(e.Algorithms, HS256):
		return "", errors.New("a proof needs an asymmetric algorithm")
	}
	return targetOf(e.URL)
}

func (e *ExpectProof) verify(proof, target string) (*Proof, error) {
	if len(proof) > maxProof {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrForm, len(proof), maxProof)
	}
	t, err := Expect{Type: TypeDPoP, Embedded: true, Algorithms: e.Algorithms, Require: []Claim{ClaimID, ClaimIssuedAt}}.verify(proof)
	if err != nil {
		return nil, err
	}
	if len(t.ID) < minProofID || len(t.ID) > maxProofID {
		return nil, fmt.Errorf("jti of %d bytes, allowed are %d to %d", len(t.ID), minProofID, maxProofID)
	}
	if err := e.checkTarget(t, target); err != nil {
		return nil, err
	}
	if err := e.checkBinding(t); err != nil {
		return nil, err
	}
	nonce, err := e.checkFreshness(t)
	if err != nil {
		return nil, err
	}
	p := &Proof{Key: t.Key, Thumbprint: t.Key.Thumbprint(), ID: t.ID, IssuedAt: t.IssuedAt, Nonce: nonce}
	p.Replay = sha256.Sum256(append(slices.Clone(p.Thumbprint[:]), p.ID...))
	// iat lies in [now − MaxAge, now + Ahead], so the proof dies within MaxAge + Ahead; a second more for rounding.
	p.Keep = max(e.MaxAge+e.Ahead, e.NonceLife) + time.Second
	return p, nil
}

// checkTarget compares htm and htu.
func (e *ExpectProof) checkTarget(t *Token, target string) error {
	method, err := t.Text(ClaimMethod, maxID)
	if err != nil || method != e.Method {
		return fmt.Errorf("%s is not the method of the request", ClaimMethod)
	}
	sent, err := t.Text(ClaimURL, maxForeignText)
	if err != nil {
		return err
	}
	if sent, err = targetOf(sent); err != nil || sent != target {
		return fmt.Errorf("%s is not the URL of the request", ClaimURL)
	}
	return nil
}

// checkBinding compares the key with the one that is bound, and ath with the token.
func (e *ExpectProof) checkBinding(t *Token) error {
	print := t.Key.Thumbprint()
	if e.Bound != (Thumbprint{}) && subtle.ConstantTimeCompare(e.Bound[:], print[:]) != 1 {
		return errors.New("key is not the one that is bound")
	}
	sent, err := t.Text(ClaimTokenHash, maxID)
	if err != nil {
		return err
	}
	// Without an access token beside it, what a proof says of one is nobody's business (RFC 9449 §4.3).
	if e.AccessToken != "" && subtle.ConstantTimeCompare([]byte(sent), []byte(tokenHash(e.AccessToken))) != 1 {
		return fmt.Errorf("%s is not of this access token", ClaimTokenHash)
	}
	return nil
}

// checkFreshness judges the nonce where one is demanded, and iat otherwise: a phone whose clock is off is not locked out of a
// server that gives nonces.
func (e *ExpectProof) checkFreshness(t *Token) (nonce string, err error) {
	if nonce, err = t.Text(ClaimNonce, maxForeignID); err != nil {
		return "", err
	}
	if e.Nonce != nil {
		if nonce == "" || !e.Nonce(nonce) {
			return "", ErrUseNonce
		}
		return nonce, nil
	}
	if !t.Expires.IsZero() && !e.Now.Before(t.Expires.Add(e.Ahead)) {
		return "", ErrExpired
	}
	if t.IssuedAt.After(e.Now.Add(e.Ahead)) || t.NotBefore.After(e.Now.Add(e.Ahead)) {
		return "", errors.New("issued in the future")
	}
	if t.IssuedAt.Before(e.Now.Add(-e.MaxAge)) {
		return "", errors.New("issued too long ago")
	}
	return nonce, nil
}
