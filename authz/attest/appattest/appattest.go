// Package appattest verifies Apple App Attest: the attestation of a key that a genuine app made in the Secure Enclave of a genuine Apple
// device, and the assertions that the key signs later.
//
// The checks are those of Apple's "Validating apps that connect to your server" and "Attestation Object Validation Guide", in their order;
// Verifier.Attest and Verifier.Assert list them. What the authenticator data look like is WebAuthn §6.1 and §6.5.1.
//
// An operator configures Apple's root ("Apple App Attestation Root CA", SHA-256
// 1cb9823ba28ba6ad2d33a006941de2ae4f513ef1d4e831b9f7e0fa7b6242c932, published at apple.com/certificateauthority), the app ids
// ("TEAMID.bundle.id") and, where builds from Xcode are tested, Development.
//
// What it does not do: it makes no challenge and keeps none (the caller hands in the client data that must have been attested, and spends
// the challenge in it), stores no key and no counter, and asks nobody. The receipt in an attestation, with which Apple's fraud assessment
// can be asked, is neither checked nor returned: no signature that is checked here covers it. It does not tell an iPhone from a Mac; on a
// Mac, which attests since macOS 27, the app is only as genuine as the Mac's own protection lets it be. Start from Verifier.
package appattest

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/latchkey-ace/latchkey/authz/attest"
)

// Reasons to refuse evidence. Their texts are fixed, hold nothing that the sender chose, and may go to the audit log. An error of this
// package is one of them, or wraps one with the part that it concerns.
var (
	ErrMalformed   = errors.New("app attest: the evidence is not in Apple's form")
	ErrRoot        = errors.New("app attest: the certificates, in the order sent, do not lead to a configured root")
	ErrExpired     = errors.New("app attest: a certificate is not yet, or no longer, valid")
	ErrAlgorithm   = errors.New("app attest: a key or signature is not of an allowed algorithm")
	ErrChallenge   = errors.New("app attest: another challenge was attested")
	ErrKeyID       = errors.New("app attest: another key was attested")
	ErrApp         = errors.New("app attest: the app is not an allowed one")
	ErrCounter     = errors.New("app attest: the counter is not as it must be; a replay, or a copied key")
	ErrDevelopment = errors.New("app attest: a development build, which is not allowed")
	ErrSignature   = errors.New("app attest: the assertion is not signed by this key for this client data")
)

// Verifier checks evidence. The zero value trusts nobody. It may be used concurrently and must not be changed meanwhile.
type Verifier struct {
	// Roots are the certificates that attestations must lead to. The system's are never used.
	Roots *x509.CertPool
	// Apps are the allowed app ids: team id, a dot, bundle id.
	Apps []string
	// Development allows builds from Xcode too: those attested in Apple's development environment, and those that the system says are signed
	// for development. Anybody in the developer's team can make one.
	Development bool
}

// Key is a key that was attested. The caller keeps it with its counter, which begins at 0, for Verifier.Assert.
type Key struct {
	ID          []byte           // 32 bytes: SHA-256 of the public key
	Public      *ecdsa.PublicKey // on P-256
	App         string           // as in Verifier.Apps
	Development bool             // a development build
}

// Verdict is what an attestation or assertion found good at a time says. Of the system App Attest says nothing, good or bad.
func (k *Key) Verdict(at time.Time) attest.Verdict {
	v := attest.Verdict{Kind: attest.AppAttest, App: k.App, Key: attest.KeyHardware, System: attest.SystemUnknown, At: at.UTC().Truncate(time.Second)}
	if k.Development {
		v.System = attest.SystemDegraded
	}
	return v
}

// app finds the allowed app by the hash of its id.
func (v *Verifier) app(hash []byte) (string, error) {
	found := ""
	for _, app := range v.Apps {
		if sum := sha256.Sum256([]byte(app)); equal(sum[:], hash) {
			found = app
		}
	}
	if found == "" { // so that an empty name in the settings allows nothing
		return "", ErrApp
	}
	return found, nil
}

// allows says whether a key that was good is still the settings' kind of key.
func (v *Verifier) allows(k *Key) error {
	if k.App == "" || !slices.Contains(v.Apps, k.App) {
		return ErrApp
	}
	if k.Development && !v.Development {
		return ErrDevelopment
	}
	return nil
}

// nonce is what Apple has a certificate name, or a key sign.
func nonce(authData, clientDataHash []byte) []byte {
	sum := sha256.Sum256(slices.Concat(authData, clientDataHash))
	return sum[:]
}

func equal(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }

func malformed(part string) error { return fmt.Errorf("%w: %s", ErrMalformed, part) }
