package clientauth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/attest"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/attestation"
	"github.com/latchkey-ace/latchkey/pop/integrity"
	"github.com/latchkey-ace/latchkey/pop/jose"
)

// Attester is somebody who may vouch for instances of the apps of some clients.
type Attester struct {
	Issuer string // iss of what it signs; "" where it says none
	// Keys finds its keys. Errors wrap jose.ErrUnknownKey, or authz.ErrUnavailable where they cannot be had now.
	Keys      jose.Finder
	Symmetric bool           // it shares a secret with this server: HS256, and nothing else
	Means     attest.Verdict // what its word stands for where it does not say more
	Says      bool           // what it says in latchkey_verdict is believed; otherwise its word stands for Means
}

// toldError is a refusal that is told to an app for whom somebody vouches who is trusted.
type toldError struct {
	told *ace.Error
	why  string
}

func (e *toldError) Error() string { return e.why }

func tell(code ace.ErrorCode, err error) error {
	return &toldError{told: &ace.Error{Code: code, Description: err.Error()}, why: err.Error()}
}

// vouchers are the attesters that count for a client: its own. A client that is not there has all, so that the same work is done
// for it.
type vouchers struct {
	all    map[string]Attester
	names  []string
	issuer string // as the token says, unverified
	by     string // who was found
}

func (a *Authenticator) vouchers(c *authz.Client, issuer string) *vouchers {
	v := &vouchers{all: a.options.Attesters, names: c.Settings.Attesters, issuer: issuer}
	if c.ID == "" {
		for name := range v.all {
			v.names = append(v.names, name)
		}
	}
	return v
}

// find is the key of the first of them that has one of this name; where one's cannot be had now, that is the answer.
func (v *vouchers) find(symmetric bool) jose.Finder {
	return func(kid string) (*jose.Key, error) {
		err := error(jose.ErrUnknownKey)
		for _, name := range v.names {
			one, there := v.all[name]
			if !there || one.Issuer != v.issuer || one.Symmetric != symmetric {
				continue
			}
			key, missing := one.Keys(kid)
			if missing == nil {
				v.by = name
				return key, nil
			}
			if errors.Is(missing, authz.ErrUnavailable) {
				err = missing
			}
		}
		return nil, err
	}
}

// algorithms are those of shared secrets where the header names one, and else those whose verifier cannot sign.
func (c *claimed) algorithms() (taken []jose.Algorithm, symmetric bool) {
	if c.algorithm == jose.HS256.String() {
		return []jose.Algorithm{jose.HS256}, true
	}
	return nil, false
}

// verdict is what the attester's word stands for.
func (v *vouchers) verdict(said json.RawMessage, at time.Time) (attest.Verdict, error) {
	one := v.all[v.by]
	verdict := one.Means
	verdict.At = at
	if said == nil || !one.Says {
		return verdict, nil
	}
	verdict = attest.Verdict{}
	if err := json.Unmarshal(said, &verdict); err != nil {
		return verdict, errors.New("latchkey_verdict is malformed")
	}
	if one.Means.Kind == attest.Development || verdict.Kind == attest.None {
		verdict.Kind = one.Means.Kind
	}
	if verdict.At.After(at) || verdict.At.IsZero() {
		verdict.At = at
	}
	return verdict, nil
}

var errOtherApp = errors.New("the attestation is of another app")

// byAttestation judges an attestation and its proof: who vouches, for which client and app, and that the sender has the key.
func byAttestation(a *Authenticator, c *authz.Client, p *Presented) (Sender, error) {
	now, token := a.options.Now(), p.Attestation[0]
	heard := peek(token)
	v := a.vouchers(c, heard.issuer)
	taken, symmetric := heard.algorithms()
	said, err := a.seen.verify(token, attestation.Expect{Keys: v.find(symmetric), Algorithms: taken, Now: now})
	switch {
	case errors.Is(err, authz.ErrUnavailable):
		return Sender{}, err
	case errors.Is(err, attestation.ErrStale) && c.ID != "":
		return Sender{}, tell(ace.UseFreshAttestation, attestation.ErrStale)
	case err != nil, c.ID == "", subtle.ConstantTimeCompare([]byte(said.Client), []byte(c.ID)) != 1:
		return Sender{}, errWrong
	}
	made := said.IssuedAt
	if made.IsZero() {
		made = now
	}
	verdict, err := v.verdict(said.Verdict, made)
	if err == nil && len(c.Settings.Apps) > 0 && !slices.Contains(c.Settings.Apps, verdict.App) {
		err = errOtherApp
	}
	if err != nil {
		return Sender{}, tell(ace.InvalidClientAttestation, err)
	}
	uses, err := a.prove(said, p)
	if err != nil {
		return Sender{}, err
	}
	thumbprint := said.Key.Thumbprint()
	return Sender{Uses: uses, Attested: &authz.Attested{Attester: v.by, Instance: thumbprint[:], Verdict: verdict}}, nil
}

// prove judges the proof of the instance key: one of its own, or that of DPoP.
func (a *Authenticator) prove(said *attestation.Attestation, p *Presented) ([]authz.Use, error) {
	now, thumbprint := a.options.Now(), said.Key.Thumbprint()
	if len(p.Proof) == 0 {
		switch {
		case p.DPoP == nil:
			return nil, tell(ace.InvalidClientAttestation, errors.New("the attestation came without a proof of its key"))
		case subtle.ConstantTimeCompare(p.DPoP.Thumbprint[:], thumbprint[:]) != 1:
			return nil, tell(ace.InvalidClientAttestation, errors.New("the DPoP proof is not of the key that the attestation names"))
		case a.options.Challenge != nil && !a.options.Challenge(p.DPoP.Nonce):
			return nil, tell(ace.UseAttestationChallenge, attestation.ErrChallenge)
		}
		return ChallengeUse(p.DPoP.Nonce, now), nil // the proof itself is spent by who verified it
	}
	proof, err := attestation.VerifyProof(p.Proof[0], attestation.ExpectProof{Key: said.Key, Audience: a.options.Issuer, Now: now, Challenge: a.options.Challenge})
	switch {
	case errors.Is(err, attestation.ErrChallenge):
		return nil, tell(ace.UseAttestationChallenge, attestation.ErrChallenge)
	case err != nil:
		return nil, tell(ace.InvalidClientAttestation, err)
	}
	return append(ChallengeUse(proof.Challenge, now), authz.Use{Kind: authz.UseProof, Value: proof.Replay[:], Until: now.Add(proof.Keep)}), nil
}

// ChallengeUse is what has to be spent for a challenge.
func ChallengeUse(challenge string, now time.Time) []authz.Use {
	if challenge == "" {
		return nil
	}
	used := sha256.Sum256([]byte(challenge))
	return []authz.Use{{Kind: authz.UseChallenge, Value: used[:], Until: now.Add(challengeKept)}}
}

// byIntegrity judges an integrity token: who vouches, and that it is for this request: for its body, or for the key that the
// request proves.
func byIntegrity(a *Authenticator, c *authz.Client, p *Presented) (Sender, error) {
	now, token := a.options.Now(), p.Integrity[0]
	heard := peek(token)
	v := a.vouchers(c, heard.issuer)
	taken, symmetric := heard.algorithms()
	said, err := integrity.Verify(token, integrity.Expect{Keys: v.find(symmetric), Algorithms: taken, Now: now})
	switch {
	case errors.Is(err, authz.ErrUnavailable):
		return Sender{}, err
	case errors.Is(err, integrity.ErrStale) && c.ID != "":
		return Sender{}, tell(ace.UseFreshAttestation, integrity.ErrStale)
	case err != nil, c.ID == "", said.Subject != "" && said.Subject != c.ID, said.Audience != nil && !slices.Contains(said.Audience, a.options.Issuer):
		return Sender{}, errWrong
	}
	made := said.IssuedAt
	if made.IsZero() {
		made = now
	}
	verdict, err := v.verdict(said.Verdict, made)
	if err == nil && len(c.Settings.Apps) > 0 && !slices.Contains(c.Settings.Apps, verdict.App) {
		err = errOtherApp
	}
	if err != nil {
		return Sender{}, tell(ace.InvalidClientAttestation, err)
	}
	out := Sender{Attested: &authz.Attested{Attester: v.by, Verdict: verdict}}
	switch key, payload := said.Key, sha256.Sum256(p.Body); {
	case key != nil && p.DPoP != nil && subtle.ConstantTimeCompare(p.DPoP.Thumbprint[:], thumbprintOf(key)) == 1:
		out.Attested.Instance = thumbprintOf(key)
	case key == nil && said.Payload != nil && subtle.ConstantTimeCompare(said.Payload, payload[:]) == 1:
		used := sha256.Sum256([]byte(token[:strings.LastIndexByte(token, '.')])) // a signature has two spellings
		out.Uses = []authz.Use{{Kind: authz.UseIntegrity, Value: used[:], Until: said.Expires.Add(keepAfter)}}
	default:
		return Sender{}, tell(ace.InvalidClientAttestation, errors.New("the integrity token is not bound to this request: to its body, or to the key of its DPoP proof"))
	}
	return out, nil
}

func thumbprintOf(k *jose.Key) []byte {
	thumbprint := k.Thumbprint()
	return thumbprint[:]
}
