package keyattest

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz/attest"
)

func TestVerify(t *testing.T) {
	hardware := func(tag int, der []byte) func(*forged) {
		return func(f *forged) { f.hardware = put(f.hardware, tag, der) }
	}
	tests := []struct {
		name   string
		change func(*forged)
		trust  func(*Verifier)
		key    attest.Keeping
		system attest.System
	}{
		{name: "TEE", key: attest.KeyHardware, system: attest.SystemVerified},
		{name: "StrongBox", change: func(f *forged) { f.level, f.keyLevel = 2, 2 }, key: attest.KeyStrongBox, system: attest.SystemVerified},
		{name: "the lower level counts: attestation", change: func(f *forged) { f.keyLevel = 2 }, key: attest.KeyHardware, system: attest.SystemVerified},
		{name: "the lower level counts: key", change: func(f *forged) { f.level = 2 }, key: attest.KeyHardware, system: attest.SystemVerified},
		{name: "unlocked boot loader", change: hardware(tagRootOfTrust, rootOfTrust(false, Verified)), key: attest.KeyHardware, system: attest.SystemDegraded},
		{name: "self-signed boot", change: hardware(tagRootOfTrust, rootOfTrust(true, SelfSigned)), key: attest.KeyHardware, system: attest.SystemDegraded},
		{name: "unverified boot", change: hardware(tagRootOfTrust, rootOfTrust(true, Unverified)), key: attest.KeyHardware, system: attest.SystemDegraded},
		{name: "failed boot", change: hardware(tagRootOfTrust, rootOfTrust(true, Failed)), key: attest.KeyHardware, system: attest.SystemDegraded},
		{name: "patch level just young enough", trust: func(v *Verifier) { v.MaxPatchAge = now.Sub(time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)) }, key: attest.KeyHardware, system: attest.SystemVerified},
		{name: "patch level too old by a second", trust: func(v *Verifier) {
			v.MaxPatchAge = now.Sub(time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)) - time.Second
		}, key: attest.KeyHardware, system: attest.SystemDegraded},
		{name: "no patch level where one is asked", change: hardware(tagOSPatch, nil), trust: func(v *Verifier) { v.MaxPatchAge = 24 * time.Hour }, key: attest.KeyHardware, system: attest.SystemDegraded},
		{name: "software, where allowed", change: soften, trust: func(v *Verifier) { v.AllowSoftware = true }, key: attest.KeySoftware, system: attest.SystemUnknown},
		{name: "unknown tag", change: hardware(724, set(1)), key: attest.KeyHardware, system: attest.SystemVerified},
		{name: "expired intermediate, where allowed", change: func(f *forged) { f.certs[1].NotAfter = now.Add(-time.Hour) }, trust: func(v *Verifier) { v.AllowExpired = true }, key: attest.KeyHardware, system: attest.SystemVerified},
		{name: "root certificate past its end", change: func(f *forged) { f.certs[3].NotAfter = now.Add(-time.Hour) }, key: attest.KeyHardware, system: attest.SystemVerified},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := forge(t)
			if tt.change != nil {
				tt.change(f)
			}
			v := f.verifier()
			if tt.trust != nil {
				tt.trust(v)
			}
			got, err := v.Verify(f.chain(t), challenge, now)
			if err != nil {
				t.Fatal(err)
			}
			want := attest.Verdict{Kind: attest.KeyAttestation, App: packageName, Key: tt.key, System: tt.system, At: now}
			if got.Verdict() != want {
				t.Errorf("got %v, want %v", got.Verdict(), want)
			}
			if !got.Public.Equal(f.keys[0].Public()) {
				t.Error("got another key than the leaf's")
			}
		})
	}
}

// soften makes an attestation of an emulator: everything is the software's.
func soften(f *forged) {
	f.level, f.keyLevel = 0, 0
	f.software = slices.Concat(slices.DeleteFunc(f.hardware, func(f field) bool { return f.tag > 701 && f.tag != tagOrigin }), nil)
	f.hardware = nil
}

func TestRefuseDescription(t *testing.T) {
	hardware := func(tag int, der []byte) func(*forged) {
		return func(f *forged) { f.hardware = put(f.hardware, tag, der) }
	}
	tests := []struct {
		name   string
		change func(*forged)
		want   error
	}{
		{"another challenge", func(f *forged) { f.challenge = append([]byte("b"), challenge[1:]...) }, ErrChallenge},
		{"a longer challenge", func(f *forged) { f.challenge = append(bytes.Clone(challenge), 0) }, ErrChallenge},
		{"no challenge", func(f *forged) { f.challenge = nil }, ErrChallenge},
		{"another package", func(f *forged) { f.packages = []string{"com.example.clone"} }, ErrApp},
		{"another signing certificate", func(f *forged) { f.digests = [][]byte{otherMaker[:]} }, ErrApp},
		{"package of one app, maker of another", func(f *forged) { f.packages = []string{"com.example.other"} }, ErrApp},
		{"a second signing certificate", func(f *forged) { f.digests = append(f.digests, otherMaker[:]) }, ErrApp},
		{"no signing certificate", func(f *forged) { f.digests = nil }, ErrApp},
		{"two packages", func(f *forged) { f.packages = append(f.packages, "com.example.clone") }, ErrApp},
		{"no packages", func(f *forged) { f.packages = []string{} }, ErrApp},
		{"no application id", func(f *forged) { f.packages = nil }, ErrApp},
		{"application id in hardwareEnforced only", func(f *forged) {
			f.hardware = put(f.hardware, tagApplicationID, f.applicationID())
			f.packages = nil
		}, ErrApp},
		{"imported key", hardware(tagOrigin, integer(2)), ErrOrigin},
		{"no origin", hardware(tagOrigin, nil), ErrOrigin},
		{"origin in softwareEnforced only", func(f *forged) {
			f.hardware, f.software = put(f.hardware, tagOrigin, nil), put(f.software, tagOrigin, integer(0))
		}, ErrOrigin},
		{"no purpose", hardware(tagPurpose, nil), ErrPurpose},
		{"verifies only", hardware(tagPurpose, set(3)), ErrPurpose},
		{"decrypts too", hardware(tagPurpose, set(1, 2)), ErrPurpose},
		{"attest key", hardware(tagPurpose, set(7)), ErrPurpose},
		{"wraps keys too", hardware(tagPurpose, set(2, 5)), ErrPurpose},
		{"key of all apps", hardware(tagAllApplications, null()), ErrShared},
		{"exportable key", hardware(tagExportable, null()), ErrShared},
		{"algorithm RSA", hardware(tagAlgorithm, integer(1)), ErrKey},
		{"curve P-384 said", hardware(tagCurve, integer(2)), ErrKey},
		{"root of trust in softwareEnforced only", func(f *forged) {
			f.hardware, f.software = put(f.hardware, tagRootOfTrust, nil), put(f.software, tagRootOfTrust, rootOfTrust(true, Verified))
		}, ErrRootOfTrust},
		{"software", soften, ErrSoftware},
		{"software attests a hardware key", func(f *forged) { f.level = 0 }, ErrSoftware},
		{"hardware attests a software key", func(f *forged) { f.keyLevel = 0 }, ErrSoftware},
		{"unknown level", func(f *forged) { f.level = 3 }, ErrMalformed},
		{"unknown version", func(f *forged) { f.version = 5 }, ErrVersion},
		{"trailing bytes", func(f *forged) { f.trailing = []byte{5, 0} }, ErrMalformed},
		{"trailing bytes behind the application id", func(f *forged) { f.appTrailing = []byte{0} }, ErrMalformed},
		{"trailing bytes in a known tag", hardware(tagOrigin, []byte{2, 1, 0, 5, 0}), ErrMalformed},
		{"trailing bytes in an unknown tag", hardware(300, []byte{5, 0, 5, 0}), ErrMalformed},
		{"nothing in an unknown tag", hardware(300, []byte{}), ErrMalformed},
		{"integer with a needless byte", hardware(tagOrigin, []byte{2, 2, 0, 0}), ErrMalformed},
		{"negative number", hardware(tagOSVersion, integer(-1)), ErrMalformed},
		{"patch level of a thirteenth month", hardware(tagOSPatch, integer(202613)), ErrMalformed},
		{"unknown boot state", hardware(tagRootOfTrust, rootOfTrust(true, 4)), ErrMalformed},
		{"tags out of order", func(f *forged) { f.hardware[0], f.hardware[1] = f.hardware[1], f.hardware[0] }, ErrMalformed},
		{"tag twice", func(f *forged) { f.hardware = append(f.hardware, f.hardware[len(f.hardware)-1]) }, ErrMalformed},
		{"tag in a long form", hardware(130<<7, null()), ErrMalformed},
		{"long package name", func(f *forged) { f.packages = []string{string(bytes.Repeat([]byte("a"), maxPackage+1))} }, ErrMalformed},
		{"long challenge", func(f *forged) { f.challenge = make([]byte, maxChallenge+1) }, ErrMalformed},
		{"too many tags", func(f *forged) {
			f.software = nil
			for tag := range maxEntries + 1 {
				f.software = append(f.software, field{200 + tag, null()})
			}
		}, ErrMalformed},
		{"no description", func(f *forged) { f.extension = []byte{} }, ErrMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := forge(t)
			tt.change(f)
			refused(t, f.verifier(), f.chain(t), tt.want)
		})
	}
}

func refused(t *testing.T, v *Verifier, chain [][]byte, want error) {
	t.Helper()
	if got, err := v.Verify(chain, challenge, now); !errors.Is(err, want) || got != nil {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}
