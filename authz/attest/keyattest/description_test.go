package keyattest

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

func TestReadHighTag(t *testing.T) {
	tests := []struct {
		name string
		in   []byte
		want int
		ok   bool
	}{
		{"31", []byte{0x1f}, 31, true},
		{"128", []byte{0x81, 0x00}, 128, true},
		{"724", []byte{0x85, 0x54}, 724, true},
		{"30, which has a short form", []byte{0x1e}, 30, false},
		{"leading zero", []byte{0x80, 0x7f}, 0, false},
		{"three bytes", []byte{0x81, 0x80, 0x00}, 0, false},
		{"cut", []byte{0x85}, 0, false},
		{"nothing", nil, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := cryptobyte.String(tt.in)
			if got, ok := readHighTag(&in); got != tt.want || ok != tt.ok {
				t.Errorf("got %d, %v, want %d, %v", got, ok, tt.want, tt.ok)
			}
		})
	}
}

// longer puts an element at the end of a sequence.
func longer(t *testing.T, sequence []byte) []byte {
	t.Helper()
	var body cryptobyte.String
	in := cryptobyte.String(sequence)
	if !in.ReadASN1(&body, asn1.SEQUENCE) {
		t.Fatal("no sequence")
	}
	return build(func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(body); b.AddASN1NULL() })
	})
}

func TestRefuseMoreThanTheSchemaHas(t *testing.T) {
	f := forge(t)
	f.extension = longer(t, f.description())
	refused(t, f.verifier(), f.chain(t), ErrMalformed)
	f = forge(t)
	f.hardware = put(f.hardware, tagRootOfTrust, longer(t, rootOfTrust(true, Verified)))
	refused(t, f.verifier(), f.chain(t), ErrMalformed)
	f = forge(t)
	f.software = []field{{tagAllApplications, null()}}
	refused(t, f.verifier(), f.chain(t), ErrShared)
}

func TestRefuseAnEmptyChallengeThatWasAttested(t *testing.T) {
	f := forge(t)
	f.challenge = nil
	if _, err := f.verifier().Verify(f.chain(t), nil, now); !errors.Is(err, ErrChallenge) {
		t.Errorf("got %v, want %v", err, ErrChallenge)
	}
}

func TestRefuseAnotherIssuersName(t *testing.T) {
	f := forge(t)
	chain := f.chain(t)
	parent := *f.certs[1]
	parent.Subject = pkix.Name{CommonName: "another"}
	leaf := *f.certs[0]
	leaf.ExtraExtensions = []pkix.Extension{attestation(f.description())}
	der, err := x509.CreateCertificate(rand.Reader, &leaf, &parent, f.keys[0].Public(), f.keys[1])
	if err != nil {
		t.Fatal(err)
	}
	chain[0] = der
	refused(t, f.verifier(), chain, ErrChain)
}
