// Package keyattest verifies Android Key Attestation: a chain of certificates, signed down from a root of Google's, whose leaf says
// which app made a key, where the key is kept and which system was started.
//
// The format is in "Key and ID attestation" (source.android.com, schema versions 1–4, 100, 200, 300 and 400), the checks are those of
// "Verify hardware-backed key pairs with key attestation" (developer.android.com). Start from Verifier.
//
// What an operator configures:
//   - Roots: the public keys of Google's attestation roots (RSA-4096 and P-384; they are rotated, so several at a time). Trust is in the
//     key: Google issues the same key under certificates with later dates, therefore the dates of a root certificate are not judged.
//   - Apps: package names and SHA-256 digests of their signing certificates.
//   - Revoked: Google's status list, as ParseRevocation reads it. Without one nothing is revoked; whoever guards doors wants one.
//   - MaxPatchAge, AllowExpired and AllowSoftware: see their docs.
//
// Decisions, all of them on the strict side:
//   - The order is leaf first and each certificate signs the one before it. The root itself may be left out.
//   - All certificates between leaf and root must be valid now. Keys that were put into phones in the factory (before remote provisioning)
//     can have certificates that are past their end, and Google's own verifier overlooks that; here only with AllowExpired.
//   - The dates of the leaf are not judged: the app chooses them (1970 to 2048 or 2106 when it does not).
//   - The extension must stand in the leaf and nowhere else. An attested key can sign certificates with extensions of its owner's
//     invention, so what stands nearest to the root is the one to believe; chains of attest keys (PURPOSE_ATTEST_KEY, several extensions)
//     are refused by name, ErrAttestKey.
//   - Keys are EC P-256, made where they are kept, for signing and verifying only.
//   - One package, no shared user id: which of several apps asked, nobody could tell.
//   - What hardware must guarantee is read from hardwareEnforced only. The app's name is not of that kind: the system writes it
//     (softwareEnforced). On a phone that is unlocked or started another system it is worth nothing, and the verdict says "degraded".
//
// It has no clock, network or files, and does not keep challenges: who calls it hands in the very challenge that it issued, once.
package keyattest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/subtle"
	"fmt"
	"slices"
	"time"

	"github.com/latchkey-ace/latchkey/authz/attest"
)

// App is an app that may attest its keys.
type App struct {
	Package string
	// Digests are SHA-256 hashes of signing certificates (DER). All that the phone reports must be among them; an App without any
	// matches nothing.
	Digests [][]byte
}

// Verifier is what is trusted. The zero value trusts nobody. It is not changed by use, so that any number of callers may share it.
type Verifier struct {
	Roots   []crypto.PublicKey // *rsa.PublicKey (2048–4096 bits) or *ecdsa.PublicKey (P-256, P-384)
	Apps    []App
	Revoked *Revocation // nil revokes nothing
	// MaxPatchAge is how old the system's security patch level may be, counted from the first day of its month, before the system is
	// degraded. 0 does not judge it.
	MaxPatchAge time.Duration
	// AllowExpired accepts certificates above the leaf that are past their end, as chains from the factory are. What is not yet valid
	// is refused all the same.
	AllowExpired bool
	// AllowSoftware accepts keys that only software guards and attests. Their system is unknown, whatever they say.
	AllowSoftware bool
}

// Result is what the phone attested.
type Result struct {
	Public  *ecdsa.PublicKey // of the instance, P-256
	App     string           // package name
	Release int64            // version code of the app
	Level   attest.Keeping   // lower of the attestation's and the key's
	System  attest.System
	NoAuth  bool // the key signs without its owner's fingerprint or PIN
	Boot    RootOfTrust
	// OSVersion is as Android writes it (MMmmss), 0 where nobody said.
	OSVersion int64
	// Patch levels: OSPatch is YYYYMM, VendorPatch and BootPatch YYYYMMDD; 0 where nobody said.
	OSPatch, VendorPatch, BootPatch int64
	// Serials are those of the chain, in hex, for Standing.
	Serials []string

	at time.Time
}

// Verdict is the result as policy reads it, at the time of verification, in whole seconds.
func (r *Result) Verdict() attest.Verdict {
	return attest.Verdict{Kind: attest.KeyAttestation, App: r.App, Key: r.Level, System: r.System, At: r.at}
}

// Verify checks a chain of DER certificates, leaf first, against the exact challenge that must have been attested. Errors are one of
// the package's, wrapped with the place where it was seen.
func (v *Verifier) Verify(chain [][]byte, challenge []byte, now time.Time) (*Result, error) {
	certs, err := parseChain(chain)
	if err != nil {
		return nil, err
	}
	extension, err := findExtension(certs)
	if err != nil {
		return nil, err
	}
	if err := v.checkChain(certs, now); err != nil {
		return nil, err
	}
	desc, err := parseDescription(extension)
	if err != nil {
		return nil, err
	}
	if len(challenge) == 0 || subtle.ConstantTimeCompare(desc.challenge, challenge) != 1 {
		return nil, ErrChallenge
	}
	public, ok := certs[0].PublicKey.(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() {
		return nil, ErrKey
	}
	result := &Result{Public: public, Level: desc.level(), at: now.Truncate(time.Second)}
	for _, cert := range certs {
		result.Serials = append(result.Serials, cert.SerialNumber.Text(16))
	}
	if err := v.judge(desc, result); err != nil {
		return nil, err
	}
	return result, nil
}

// Standing says whether what was verified before still counts: its app (ErrApp), and the certificates of its chain (ErrRevoked).
func (v *Verifier) Standing(app string, serials []string) error {
	if !slices.ContainsFunc(v.Apps, func(a App) bool { return a.Package == app }) {
		return ErrApp
	}
	for _, serial := range serials {
		if v.Revoked.names(serial) {
			return ErrRevoked
		}
	}
	return nil
}

// judge checks what the description says and fills in the result.
func (v *Verifier) judge(desc *description, result *Result) error {
	if result.Level == attest.KeySoftware && !v.AllowSoftware {
		return ErrSoftware
	}
	enforced := &desc.hardware
	if result.Level == attest.KeySoftware {
		enforced = &desc.software
	}
	if err := checkKey(desc, enforced); err != nil {
		return err
	}
	app, err := v.app(desc.software.appID)
	if err != nil {
		return err
	}
	result.App, result.Release = app.name, app.version
	result.NoAuth, result.OSVersion = enforced.noAuth, enforced.osVersion
	result.OSPatch, result.VendorPatch, result.BootPatch = enforced.osPatch, enforced.vendorPatch, enforced.bootPatch
	if result.Level == attest.KeySoftware {
		return nil
	}
	if enforced.root == nil {
		return ErrRootOfTrust
	}
	result.Boot, result.System = *enforced.root, v.system(enforced, result.at)
	return nil
}

// checkKey demands a P-256 key, made in place, that signs (and verifies) and does nothing else.
func checkKey(desc *description, enforced *authorizations) error {
	switch {
	case enforced.algorithm != algorithmEC, enforced.curve != absent && enforced.curve != curveP256:
		return ErrKey
	case enforced.origin != originGenerated:
		return ErrOrigin
	case desc.software.shared || desc.hardware.shared:
		return ErrShared
	}
	signs := false
	for _, purpose := range enforced.purposes {
		if purpose != purposeSign && purpose != purposeVerify {
			return ErrPurpose
		}
		signs = signs || purpose == purposeSign
	}
	if !signs {
		return ErrPurpose
	}
	return nil
}

// app finds the one package that was attested among those allowed.
func (v *Verifier) app(id *applicationID) (attestedPackage, error) {
	if id == nil || len(id.packages) != 1 || len(id.digests) == 0 {
		return attestedPackage{}, fmt.Errorf("one package and its signing certificate are needed: %w", ErrApp)
	}
	for _, app := range v.Apps {
		if app.Package != "" && app.Package == id.packages[0].name && app.signedBy(id.digests) {
			return id.packages[0], nil
		}
	}
	return attestedPackage{}, ErrApp
}

func (a App) signedBy(digests [][]byte) bool {
	for _, digest := range digests {
		known := false
		for _, allowed := range a.Digests {
			known = known || bytes.Equal(allowed, digest)
		}
		if !known {
			return false
		}
	}
	return true
}

func (v *Verifier) system(enforced *authorizations, now time.Time) attest.System {
	if !enforced.root.DeviceLocked || enforced.root.State != Verified {
		return attest.SystemDegraded
	}
	if v.MaxPatchAge > 0 && now.Sub(month(enforced.osPatch)) > v.MaxPatchAge {
		return attest.SystemDegraded
	}
	return attest.SystemVerified
}

// month is the first day of a patch level YYYYMM; of 0, which nobody said, it is long ago.
func month(patch int64) time.Time {
	if patch == 0 {
		return time.Unix(0, 0)
	}
	return time.Date(int(patch/100), time.Month(patch%100), 1, 0, 0, 0, 0, time.UTC)
}
