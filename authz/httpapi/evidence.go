package httpapi

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/attest"
	"github.com/latchkey-ace/latchkey/authz/attest/platform"
	"github.com/latchkey-ace/latchkey/authz/clientauth"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/attestation"
	"github.com/latchkey-ace/latchkey/pop/jose"
)

// evidence is what an app instance sends to have this server vouch for it: what its platform says of it, and a proof of its key.
type evidence struct {
	Client    string          `json:"client_id"`
	Challenge string          `json:"challenge"`
	Key       json.RawMessage `json:"jwk"`
	Proof     string          `json:"proof"`
	Kind      string          `json:"kind"`
	KeyID     string          `json:"key_id"`
	Object    string          `json:"attestation_object"`
	Assertion string          `json:"assertion"`
	Chain     []string        `json:"certificates"`
	Token     string          `json:"integrity_token"`
}

// vouch answers an app instance that shows evidence of its platform: an attestation, as any attester's, for a few minutes.
func (f *face) vouch(w http.ResponseWriter, r *http.Request) {
	token, client, err := f.vouched(w, r)
	if err != nil {
		f.tokenError(w, f.guessed(r, client, err))
		return
	}
	f.write(w, http.StatusOK, map[string]any{"attestation": token, "expires_in": int(authz.VouchLife / time.Second)})
}

func (f *face) vouched(w http.ResponseWriter, r *http.Request) (token, client string, err error) {
	if mediaType(r) != ace.MediaTypeJSON {
		return "", "", &httpError{http.StatusUnsupportedMediaType, "send application/json"}
	}
	body, err := readBody(w, r)
	if err != nil {
		return "", "", err
	}
	in, err := parseEvidence(body)
	if err != nil {
		return "", "", err
	}
	shown, err := f.prove(r.Context(), in)
	if err != nil {
		return "", in.Client, err
	}
	token, err = f.server.Vouch(r.Context(), in.Client, shown.Key, func(ctx context.Context, c *authz.Client) (attest.Verdict, error) {
		return f.options.Platforms.Judge(ctx, memory{f.server.Store()}, c.ID, shown, f.server.Now())
	})
	return token, in.Client, err
}

// memory lets instances be remembered in the server's store.
type memory struct{ authz.Instances }

// Add keeps an instance.
func (m memory) Add(ctx context.Context, i platform.Instance, now, until time.Time) error {
	return m.AddInstance(ctx, authz.Instance{
		ID: i.ID, Client: i.Client, App: i.Verdict.App, PublicKey: i.PublicKey, Verdict: i.Verdict, Counter: i.Counter, CreatedAt: now, ExpiresAt: until, Serials: i.Serials,
	})
}

// Find finds one of a client.
func (m memory) Find(ctx context.Context, client string, id []byte, now time.Time) (platform.Instance, error) {
	i, err := m.Instance(ctx, client, id, now)
	return platform.Instance{ID: i.ID, Client: i.Client, PublicKey: i.PublicKey, Verdict: i.Verdict, Counter: i.Counter, Serials: i.Serials}, err
}

// Count spends a count.
func (m memory) Count(ctx context.Context, id []byte, counter uint32, until time.Time) error {
	return m.CountInstance(ctx, id, counter, until)
}

// prove judges the challenge and the proof of the key, and spends both.
func (f *face) prove(ctx context.Context, in *evidence) (platform.Evidence, error) {
	key, err := jose.ParseKey(in.Key)
	if err != nil {
		return platform.Evidence{}, &ace.Error{Code: ace.InvalidRequest, Description: "jwk: not a public key on P-256 or P-384 or of Ed25519"}
	}
	now := f.server.Now()
	proof, err := attestation.VerifyProof(in.Proof, attestation.ExpectProof{
		Key: key, Audience: f.server.Issuer(), Now: now,
		Challenge: func(c string) bool { return c == in.Challenge && f.challenges.good(c, now) },
	})
	switch {
	case errors.Is(err, attestation.ErrChallenge):
		return platform.Evidence{}, &ace.Error{Code: ace.UseAttestationChallenge, Description: attestation.ErrChallenge.Error()}
	case err != nil:
		return platform.Evidence{}, &ace.Error{Code: ace.InvalidClientAttestation, Description: err.Error()}
	}
	shown, err := in.decoded(key)
	if err != nil {
		return platform.Evidence{}, err
	}
	uses := append(clientauth.ChallengeUse(in.Challenge, now), authz.Use{Kind: authz.UseProof, Value: proof.Replay[:], Until: now.Add(proof.Keep)})
	return shown, f.server.Spend(ctx, uses...)
}

func parseEvidence(body []byte) (*evidence, error) {
	bad := func(why string) error { return &ace.Error{Code: ace.InvalidRequest, Description: why} }
	members, err := ace.ParseObject(body)
	if err != nil {
		return nil, bad(err.Error())
	}
	in := &evidence{}
	if err := json.Unmarshal(body, in); err != nil {
		return nil, bad("a member is not of its type")
	}
	for _, name := range []string{"client_id", "challenge", "jwk", "proof", "kind"} {
		if _, there := members[name]; !there {
			return nil, bad(name + " is missing")
		}
	}
	return in, nil
}

// decoded reads what is bytes.
func (in *evidence) decoded(key *jose.Key) (e platform.Evidence, err error) {
	bytes := func(name, text string) []byte {
		raw, bad := base64.RawURLEncoding.Strict().DecodeString(text)
		if bad != nil && err == nil {
			err = &ace.Error{Code: ace.InvalidRequest, Description: name + ": not unpadded base64url"}
		}
		return raw
	}
	if bad := e.Kind.UnmarshalText([]byte(in.Kind)); bad != nil {
		return e, &ace.Error{Code: ace.InvalidRequest, Description: "kind: " + bad.Error()}
	}
	e.Challenge, e.Key, e.Token = in.Challenge, key, in.Token
	e.KeyID, e.Object, e.Assertion = bytes("key_id", in.KeyID), bytes("attestation_object", in.Object), bytes("assertion", in.Assertion)
	for _, der := range in.Chain {
		e.Chain = append(e.Chain, bytes("certificates", der))
	}
	return e, err
}
