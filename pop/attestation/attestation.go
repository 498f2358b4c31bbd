// Package attestation is what an app instance shows for itself (draft-ietf-oauth-attestation-based-client-auth-10): an attestation, in
// which somebody whom the verifier trusts vouches for the instance and its key, and a proof of that key for each request.
//
// It makes and verifies the two tokens and keeps nothing: that a proof or a challenge counts once is the verifier's to see to
// (Proof.Replay). The draft does not say how a verifier finds the attester's key; here it is the kid, within the keys of those that
// it trusts for the client. Start from Verify; an app starts from Prove.
package attestation

import (
	"crypto"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/latchkey-ace/latchkey/pop/jose"
)

// Errors of Verify and VerifyProof, of which each error wraps one. Their texts may go to the app's developer.
var (
	ErrAttestation  = errors.New("the attestation is not valid here")
	ErrStale        = errors.New("the attestation is too old: get a fresh one")
	ErrProof        = errors.New("the proof of the instance key is not valid here")
	ErrChallenge    = errors.New("use the challenge of the header " + HeaderChallenge)
	ErrUnknownKey   = jose.ErrUnknownKey // also wraps ErrAttestation
	errConfirmation = errors.New("cnf holds no public key")
)

// Attestation vouches for an instance of an app and its key.
type Attestation struct {
	Attester string // iss; "" where it does not say
	Client   string // sub: the client_id
	Key      *jose.Key
	IssuedAt time.Time // zero where it does not say
	Expires  time.Time
	Verdict  json.RawMessage // what the attester found (ClaimVerdict), unread; nil where it does not say
}

// Make signs an attestation. The attester knows the instance; nothing is checked here but the form.
func Make(a *Attestation, s jose.Signer) (string, error) {
	private := map[jose.Claim]any{}
	if a.Verdict != nil {
		private[jose.ClaimVerdict] = a.Verdict
	}
	return jose.Make(jose.TypeAttestation, jose.Registered{
		Issuer: a.Attester, Subject: a.Client, IssuedAt: a.IssuedAt, Expires: a.Expires, Confirmation: &jose.Confirmation{Key: a.Key},
	}, private, s)
}

// Expect says whose attestation is taken.
type Expect struct {
	Keys       jose.Finder      // of those who are trusted to vouch for the client
	Algorithms []jose.Algorithm // nil: those whose verifier cannot sign
	Now        time.Time
}

// Verify judges an attestation: signature, typ, exp within MaxLife, sub, cnf. Whether sub is the client that asks, and iss one who
// may vouch for it, is the caller's to see. Errors wrap ErrAttestation or ErrStale.
func Verify(token string, e Expect) (*Attestation, error) {
	if len(token) > MaxHeader {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrAttestation, MaxHeader)
	}
	t, err := jose.Verify(token, jose.Expect{
		Type: jose.TypeAttestation, Keys: e.Keys, Algorithms: e.Algorithms, Now: e.Now, Skew: Ahead,
		Require: []jose.Claim{jose.ClaimSubject, jose.ClaimExpires, jose.ClaimConfirmation},
	})
	switch {
	case errors.Is(err, jose.ErrExpired):
		return nil, fmt.Errorf("%w: %w", ErrStale, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrAttestation, err)
	case t.Confirmation.Key == nil:
		return nil, fmt.Errorf("%w: %w", ErrAttestation, errConfirmation)
	case !e.Now.Before(t.Expires):
		return nil, fmt.Errorf("%w: expired", ErrStale)
	case t.Expires.After(e.Now.Add(MaxLife + Ahead)):
		return nil, fmt.Errorf("%w: exp lies more than %v ahead", ErrAttestation, MaxLife)
	}
	return &Attestation{
		Attester: t.Issuer, Client: t.Subject, Key: t.Confirmation.Key, IssuedAt: t.IssuedAt, Expires: t.Expires,
		Verdict: t.Other[string(jose.ClaimVerdict)],
	}, nil
}

// ProofFor is what a proof shall be for.
type ProofFor struct {
	Audience  string // the authorization server's issuer identifier, or the resource server's
	Challenge string // what the server gave last, empty if nothing
}

// Prove makes the header OAuth-Client-Attestation-PoP. Each proof is for one request; rand gives its 128-bit jti.
func Prove(f ProofFor, key crypto.Signer, now time.Time, rand io.Reader) (string, error) {
	var id [16]byte
	if _, err := io.ReadFull(rand, id[:]); err != nil {
		return "", fmt.Errorf("proof of the instance key: jti: %w", err)
	}
	private := map[jose.Claim]any{}
	if f.Challenge != "" {
		private[jose.ClaimChallenge] = f.Challenge
	}
	return jose.Make(jose.TypeAttestationPoP, jose.Registered{
		Audience: []string{f.Audience}, ID: base64.RawURLEncoding.EncodeToString(id[:]), IssuedAt: now,
	}, private, jose.Signer{Key: key})
}

// ExpectProof says what a proof must be for. All fields are required but Challenge.
type ExpectProof struct {
	Key      *jose.Key // of the attestation
	Audience string
	Now      time.Time
	// Challenge judges the challenge of a proof; nil demands none. "" is asked about too.
	Challenge func(string) bool
}

// Proof is a proof that has been verified.
type Proof struct {
	Challenge string // "" without
	// Replay is SHA-256 of the key's thumbprint and jti: whoever wants each proof once stores it for Keep and refuses what it has stored.
	Replay [sha256.Size]byte
	Keep   time.Duration
}

// VerifyProof judges a proof: the key, typ, exactly one audience, the time, then the challenge. Errors wrap ErrProof or
// ErrChallenge.
func VerifyProof(token string, e ExpectProof) (*Proof, error) {
	if len(token) > MaxHeader {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrProof, MaxHeader)
	}
	t, err := jose.Verify(token, jose.Expect{
		Type: jose.TypeAttestationPoP, Keys: func(string) (*jose.Key, error) { return e.Key, nil }, Now: e.Now, Skew: Ahead,
		Require: []jose.Claim{jose.ClaimAudience, jose.ClaimID, jose.ClaimIssuedAt},
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProof, err)
	}
	p := &Proof{Keep: ProofAge + 2*Ahead}
	switch {
	case t.IssuedAt.Before(e.Now.Add(-ProofAge)):
		return nil, fmt.Errorf("%w: issued more than %v ago", ErrProof, ProofAge)
	case len(t.Audience) != 1 || subtle.ConstantTimeCompare([]byte(t.Audience[0]), []byte(e.Audience)) != 1:
		return nil, fmt.Errorf("%w: aud is not this server alone", ErrProof)
	case len(t.ID) < minID || len(t.ID) > maxID:
		return nil, fmt.Errorf("%w: jti of %d bytes, allowed are %d to %d", ErrProof, len(t.ID), minID, maxID)
	}
	if p.Challenge, err = t.Text(jose.ClaimChallenge, maxID); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrProof, err)
	}
	if e.Challenge != nil && !e.Challenge(p.Challenge) {
		return nil, ErrChallenge
	}
	thumbprint := e.Key.Thumbprint()
	p.Replay = sha256.Sum256(slices.Concat(thumbprint[:], []byte(t.ID)))
	return p, nil
}
