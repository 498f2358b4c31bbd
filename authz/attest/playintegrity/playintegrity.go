// Package playintegrity verifies verdicts of Google Play Integrity: a compact JWE (A256KW, A256GCM) of a compact JWS (ES256), in which
// Google says which app asked, how it was installed and what kind of phone it runs on.
//
// The format is that of "Integrity verdicts" and "Decrypt and verify the integrity verdict" (developer.android.com/google/play/integrity).
// Google also opens verdicts itself (decodeIntegrityToken); that would be a call to Google for every app that asks, and is not made here.
// Start from Verifier.
//
// What an operator configures:
//   - In the Play Console, under App integrity, Play Integrity API, Settings, Classic requests, he chooses to manage and download the
//     response encryption keys, and decrypts what he gets: Decryption (base64 of 32 bytes) and Verification (base64 of a DER
//     SubjectPublicKeyInfo). Apps whose keys Google manages cannot be judged here.
//   - Apps: package names and SHA-256 digests of their signing certificates. With Play App Signing that is Google's certificate.
//
// Decisions, all of them on the strict side:
//   - Exactly one of nonce (classic requests) and requestHash (standard ones, for which Google gives nobody the keys today) is there, and
//     is what had to be attested. Google gives a nonce back with padding in some versions, so padding at its end is overlooked.
//   - requestPackageName can be forged on the phone; it and packageName must both be the one allowed app. All certificates that are reported
//     must be among its digests.
//   - Only PLAY_RECOGNIZED is taken. UNEVALUATED is refused whatever is allowed to degraded phones: there nobody vouches for the app.
//   - MEETS_DEVICE_INTEGRITY or MEETS_STRONG_INTEGRITY is a verified system, MEETS_BASIC_INTEGRITY alone a degraded one. Without any of
//     them, and in an emulator (MEETS_VIRTUAL_INTEGRITY), the verdict is refused: a key there can be copied at will.
//   - Members that Google may add are ignored; members that stand twice, and those of another type than documented, are not.
//   - What is said of the account, the environment and recent activity is not read.
//
// Google says nothing of the instance's key: that it is this key's verdict, only the bound value says, and where the key is kept, nobody.
//
// It has no clock, network or files, and does not keep challenges: who calls it hands in the value that must be bound, once.
package playintegrity

import (
	"crypto/ecdsa"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-ace/latchkey/authz/attest"
	"github.com/latchkey-ace/latchkey/pop/jose"
	"github.com/latchkey-ace/latchkey/pop/jose/jwe"
)

// App is an app that may show verdicts.
type App struct {
	Package string
	// Digests are SHA-256 hashes of signing certificates (DER). All that are reported must be among them; an App without any matches
	// nothing.
	Digests [][]byte
}

// Secret is a key that Google shares with the operator. It prints as nothing.
type Secret []byte

// Format prints no secret, for any verb.
func (Secret) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "[redacted]") }

// MarshalText hides the secret from JSON and structured logs.
func (Secret) MarshalText() ([]byte, error) { return []byte("[redacted]"), nil }

// Verifier is what is trusted. The zero value trusts nobody. It is not changed by use, so that any number of callers may share it.
type Verifier struct {
	Decryption   Secret           // 32 bytes
	Verification *ecdsa.PublicKey // P-256
	Apps         []App
	MaxAge       time.Duration // of a verdict; 0: DefaultMaxAge
	// Testing takes answers that somebody set up in the Play Console for testers; their system is degraded, whatever they say.
	Testing bool
}

// Result is what Google found.
type Result struct {
	App     string // package name
	Release int64  // version code of the app, 0 where Google does not say
	System  attest.System
	Testing bool // somebody wrote this answer by hand
	At      time.Time
}

// Verdict is the result as policy reads it, in whole seconds.
func (r *Result) Verdict() attest.Verdict {
	return attest.Verdict{Kind: attest.PlayIntegrity, App: r.App, Key: attest.KeyUnknown, System: r.System, At: r.At.Truncate(time.Second)}
}

// Verify opens a verdict and judges it. bound is the exact value that the app must have asked with, unpadded base64url in a classic
// request's nonce. Errors are one of the package's, wrapped with what was seen.
func (v *Verifier) Verify(token, bound string, now time.Time) (*Result, error) {
	p, err := v.open(token)
	if err != nil {
		return nil, err
	}
	app, err := v.request(p, bound)
	if err != nil {
		return nil, err
	}
	if err := v.fresh(p.at, now); err != nil {
		return nil, err
	}
	if p.testing && !v.Testing {
		return nil, ErrTesting
	}
	if err := app.recognized(p); err != nil {
		return nil, err
	}
	system, err := system(p.labels)
	if err != nil {
		return nil, err
	}
	if p.testing {
		system = attest.SystemDegraded
	}
	at := p.at
	if at.After(now) {
		at = now
	}
	return &Result{App: app.Package, Release: p.release, System: system, Testing: p.testing, At: at}, nil
}

// open decrypts a token, verifies what is within, and reads it.
func (v *Verifier) open(token string) (*payload, error) {
	if len(v.Decryption) == 0 || v.Verification == nil {
		return nil, ErrKeys
	}
	key, err := jose.NewKey(v.Verification, "")
	if err != nil || key.Algorithm() != jose.ES256 {
		return nil, ErrKeys
	}
	signed, err := jwe.Unwrap(token, v.Decryption)
	switch {
	case errors.Is(err, jose.ErrForm):
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrEncryption, err)
	}
	verified, err := jose.Verify(string(signed), jose.Expect{
		Type: jose.TypePlayIntegrity, Keys: jose.Only(key), Algorithms: []jose.Algorithm{jose.ES256},
	})
	switch {
	case errors.Is(err, jose.ErrProtection):
		return nil, ErrSignature
	case err != nil:
		return nil, ErrMalformed // what is within was secret to who carried it
	}
	p, err := read(verified.Other)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return p, nil
}

// request finds the app that asked, and demands that it asked for this.
func (v *Verifier) request(p *payload, bound string) (*App, error) {
	if (p.nonce == "") == (p.requestHash == "") {
		return nil, fmt.Errorf("%w: not one of nonce and requestHash", ErrMalformed)
	}
	got := p.requestHash + strings.TrimRight(p.nonce, "=")
	if bound == "" || subtle.ConstantTimeCompare([]byte(got), []byte(bound)) != 1 {
		return nil, ErrBinding
	}
	for i, app := range v.Apps {
		if app.Package != "" && app.Package == p.requestPackage {
			return &v.Apps[i], nil
		}
	}
	return nil, ErrApp
}

func (v *Verifier) fresh(at, now time.Time) error {
	limit := v.MaxAge
	if limit == 0 {
		limit = DefaultMaxAge
	}
	switch age := now.Sub(at); {
	case age > limit:
		return ErrStale
	case age < -MaxAhead:
		return ErrFuture
	}
	return nil
}

// recognized demands that Google knows the app as this one.
func (a *App) recognized(p *payload) error {
	switch p.recognition {
	case "PLAY_RECOGNIZED":
	case "UNRECOGNIZED_VERSION":
		return ErrUnrecognized
	default: // UNEVALUATED, nothing, or a word that is new
		return ErrUnevaluated
	}
	if p.packageName != a.Package || len(p.digests) == 0 {
		return ErrApp
	}
	for _, digest := range p.digests {
		if !slices.ContainsFunc(a.Digests, func(allowed []byte) bool { return base64.RawURLEncoding.EncodeToString(allowed) == digest }) {
			return ErrApp
		}
	}
	return nil
}

// system grades a phone by its labels. Those that are new say nothing.
func system(labels []string) (attest.System, error) {
	switch has := func(label string) bool { return slices.Contains(labels, label) }; {
	case has("MEETS_VIRTUAL_INTEGRITY"):
		return 0, ErrVirtual
	case has("MEETS_DEVICE_INTEGRITY"), has("MEETS_STRONG_INTEGRITY"):
		return attest.SystemVerified, nil
	case has("MEETS_BASIC_INTEGRITY"):
		return attest.SystemDegraded, nil
	}
	return 0, ErrDevice
}
