// Package platform judges what an app's platform says of it: Apple App Attest, Android Key Attestation, Google Play Integrity. The server
// that asks vouches for the instance then, as any attester does, so that there is one gate behind it.
//
// Each kind is bound to the challenge of the server and to the instance key, in its own way:
//
//	app-attest       clientData = challenge "." thumbprint of the instance key; later an assertion over the same, whose count goes up
//	key-attestation  attestationChallenge = challenge; the attested key is the instance key; later its proof alone
//	play-integrity   nonce or requestHash = base64url(SHA-256(challenge "." thumbprint)), a fresh verdict each time
//
// Instances of the first two are kept, so that a renewal needs no new attestation; what was found stays dated as it was. Start from
// Verifiers.
package platform

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-ace/latchkey/authz/attest"
	"github.com/latchkey-ace/latchkey/authz/attest/appattest"
	"github.com/latchkey-ace/latchkey/authz/attest/keyattest"
	"github.com/latchkey-ace/latchkey/authz/attest/playintegrity"
	"github.com/latchkey-ace/latchkey/pop/jose"
)

// InstanceLife is how long an instance is remembered that does not come back: a season; then it shows itself anew.
const InstanceLife = 180 * 24 * time.Hour

// Evidence is what an app instance shows. Its key has been proven, and its challenge is one of the server's, spent.
type Evidence struct {
	Kind      attest.Kind
	Challenge string
	Key       *jose.Key // of the instance
	KeyID     []byte    // app-attest: names the attested key
	Object    []byte    // app-attest: at the first time
	Assertion []byte    // app-attest: later
	Chain     [][]byte  // key-attestation, leaf first; none later
	Token     string    // play-integrity
}

// clientData is what must have been attested.
func (e *Evidence) clientData() []byte {
	return []byte(e.Challenge + "." + e.Key.Thumbprint().String())
}

// Instance is one that is remembered.
type Instance struct {
	ID        []byte
	Client    string
	PublicKey []byte // uncompressed point
	Verdict   attest.Verdict
	Counter   uint32
	Serials   []string // key-attestation: of its certificates
}

// Memory keeps instances. Errors of a name that is taken, not there, or of a count that came before are its own.
type Memory interface {
	Add(ctx context.Context, i Instance, now, until time.Time) error
	Find(ctx context.Context, client string, id []byte, now time.Time) (Instance, error)
	Count(ctx context.Context, id []byte, counter uint32, until time.Time) error
}

// Verifiers are those of the platforms that count here; nil: none of that platform.
type Verifiers struct {
	Apple   *appattest.Verifier
	Android func() *keyattest.Verifier // asked each time: the list of revoked certificates is read anew
	Play    *playintegrity.Verifier
	// Degraded vouches for apps on phones whose system was changed or is out of date too, so that policy can let them look. There the
	// app's name is what its owner says (Android), or what is left of a check (Play).
	Degraded bool
}

// Any reports whether any platform counts.
func (v *Verifiers) Any() bool {
	return v != nil && (v.Apple != nil || v.Android != nil || v.Play != nil)
}

// Errors of Judge besides those of the platforms' packages. Their texts may go to the app's developer.
var (
	ErrKind     = errors.New("this platform's word does not count here")
	ErrNothing  = errors.New("the evidence of this platform is missing")
	ErrDegraded = errors.New("this phone's system was changed, or is out of date")
	ErrOtherKey = errors.New("the attested key is not the key of this instance")
)

// Judge finds out about an instance of a client, and remembers it.
func (v *Verifiers) Judge(ctx context.Context, m Memory, client string, e Evidence, now time.Time) (attest.Verdict, error) {
	judge, known := kinds[e.Kind]
	if !known {
		return attest.Verdict{}, ErrKind
	}
	return judge(v, ctx, m, client, e, now)
}

var kinds = map[attest.Kind]func(*Verifiers, context.Context, Memory, string, Evidence, time.Time) (attest.Verdict, error){
	attest.AppAttest: (*Verifiers).apple, attest.KeyAttestation: (*Verifiers).android, attest.PlayIntegrity: (*Verifiers).play,
}

// apple takes a new instance, or an assertion of one that is remembered.
func (v *Verifiers) apple(ctx context.Context, m Memory, client string, e Evidence, now time.Time) (attest.Verdict, error) {
	switch {
	case v.Apple == nil:
		return attest.Verdict{}, ErrKind
	case len(e.Object) > 0:
		return v.appleNew(ctx, m, client, e, now)
	case len(e.Assertion) == 0:
		return attest.Verdict{}, ErrNothing
	}
	known, err := m.Find(ctx, client, e.KeyID, now)
	if err != nil {
		return attest.Verdict{}, err
	}
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), known.PublicKey)
	if err != nil {
		return attest.Verdict{}, fmt.Errorf("app instance: %w", err)
	}
	key := &appattest.Key{ID: known.ID, Public: public, App: known.Verdict.App, Development: known.Verdict.System == attest.SystemDegraded}
	next, err := v.Apple.Assert(e.Assertion, e.clientData(), key, known.Counter)
	if err != nil {
		return attest.Verdict{}, err
	}
	if err := m.Count(ctx, known.ID, next, now.Add(InstanceLife)); err != nil {
		return attest.Verdict{}, err
	}
	return key.Verdict(now), nil
}

func (v *Verifiers) appleNew(ctx context.Context, m Memory, client string, e Evidence, now time.Time) (attest.Verdict, error) {
	key, err := v.Apple.Attest(e.Object, e.KeyID, e.clientData(), now)
	if err != nil {
		return attest.Verdict{}, err
	}
	public, err := key.Public.Bytes()
	if err != nil {
		return attest.Verdict{}, err
	}
	found := key.Verdict(now)
	return found, m.Add(ctx, Instance{ID: key.ID, Client: client, PublicKey: public, Verdict: found}, now, now.Add(InstanceLife))
}

// android takes a new instance, whose attested key is the instance key, or one that is remembered: its key has been proven just now.
// What was found stays dated as it was, because nobody has looked since; its certificates must not have been revoked since.
func (v *Verifiers) android(ctx context.Context, m Memory, client string, e Evidence, now time.Time) (attest.Verdict, error) {
	if v.Android == nil {
		return attest.Verdict{}, ErrKind
	}
	thumbprint := e.Key.Thumbprint()
	if len(e.Chain) == 0 {
		known, err := m.Find(ctx, client, thumbprint[:], now)
		if err == nil && known.Verdict.Kind != attest.KeyAttestation {
			err = ErrNothing
		}
		if err == nil {
			err = v.Android().Standing(known.Verdict.App, known.Serials)
		}
		return known.Verdict, err
	}
	found, err := v.Android().Verify(e.Chain, []byte(e.Challenge), now)
	switch {
	case err != nil:
		return attest.Verdict{}, err
	case !sameKey(e.Key, found.Public):
		return attest.Verdict{}, ErrOtherKey
	}
	public, err := found.Public.Bytes()
	if err != nil {
		return attest.Verdict{}, err
	}
	verdict := found.Verdict()
	if verdict.System != attest.SystemVerified && !v.Degraded {
		return attest.Verdict{}, ErrDegraded
	}
	return verdict, m.Add(ctx, Instance{ID: thumbprint[:], Client: client, PublicKey: public, Verdict: verdict, Serials: found.Serials}, now, now.Add(InstanceLife))
}

// play takes a fresh verdict each time. There is nothing to remember: Google says nothing of the key, so that only what is bound to it
// just now counts for it.
func (v *Verifiers) play(_ context.Context, _ Memory, _ string, e Evidence, now time.Time) (attest.Verdict, error) {
	switch {
	case v.Play == nil:
		return attest.Verdict{}, ErrKind
	case e.Token == "":
		return attest.Verdict{}, ErrNothing
	}
	sum := sha256.Sum256(e.clientData())
	found, err := v.Play.Verify(e.Token, base64.RawURLEncoding.EncodeToString(sum[:]), now)
	if err != nil {
		return attest.Verdict{}, err
	}
	verdict := found.Verdict()
	if verdict.System != attest.SystemVerified && !v.Degraded {
		return attest.Verdict{}, ErrDegraded
	}
	return verdict, nil
}

// sameKey reports whether the instance key is this one.
func sameKey(instance *jose.Key, attested *ecdsa.PublicKey) bool {
	k, err := jose.NewKey(attested, "")
	return err == nil && instance.Equal(k)
}
