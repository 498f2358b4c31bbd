package keyattest

import (
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz/attest"
)

// spring is when the intermediates of the public example were valid.
var spring = time.Date(2023, 3, 10, 12, 0, 0, 0, time.UTC)

func readPEM(t testing.TB, file string) (chain [][]byte) {
	t.Helper()
	rest, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	for block, rest := pem.Decode(rest); block != nil; block, rest = pem.Decode(rest) {
		chain = append(chain, block.Bytes)
	}
	return chain
}

func googleVerifier(t testing.TB, chain [][]byte) *Verifier {
	t.Helper()
	root, err := x509.ParseCertificate(chain[len(chain)-1])
	if err != nil {
		t.Fatal(err)
	}
	digest, _ := hex.DecodeString("68856d1d06f637d6255face5b224db43a9514ace538bb1548b844480fcd85c87")
	return &Verifier{
		Roots: []crypto.PublicKey{root.PublicKey},
		Apps:  []App{{Package: "com.google.attestationexample", Digests: [][]byte{digest}}},
	}
}

func TestPublicExample(t *testing.T) {
	chain := readPEM(t, "normal_cert_chain.pem")
	if len(chain) != 5 {
		t.Fatalf("got %d certificates, want 5", len(chain))
	}
	v := googleVerifier(t, chain)
	for _, sent := range [][][]byte{chain, chain[:4]} {
		got, err := v.Verify(sent, []byte("challenge"), spring)
		if err != nil {
			t.Fatalf("%d certificates: %v", len(sent), err)
		}
		want := attest.Verdict{
			Kind: attest.KeyAttestation, App: "com.google.attestationexample",
			Key: attest.KeyHardware, System: attest.SystemVerified, At: spring,
		}
		if got.Verdict() != want {
			t.Errorf("got %v, want %v", got.Verdict(), want)
		}
		if !got.NoAuth || got.Release != 1 || got.OSVersion != 130000 || got.OSPatch != 202302 || got.VendorPatch != 20230205 || got.BootPatch != 20230205 || len(got.Boot.Hash) != 32 {
			t.Errorf("got %+v", got)
		}
	}
	if _, err := v.Verify(chain, []byte("challengf"), spring); !errors.Is(err, ErrChallenge) {
		t.Errorf("another challenge: got %v", err)
	}
	later := spring.AddDate(0, 1, 0)
	if _, err := v.Verify(chain, []byte("challenge"), later); !errors.Is(err, ErrValidity) {
		t.Errorf("a month later: got %v", err)
	}
	v.AllowExpired = true
	if _, err := v.Verify(chain, []byte("challenge"), later); err != nil {
		t.Errorf("a month later, with AllowExpired: got %v", err)
	}
}

func TestPublicExampleOfAttestKeys(t *testing.T) {
	normal := readPEM(t, "normal_cert_chain.pem")
	chain := append(readPEM(t, "attest_keys.pem"), normal[1:]...)
	v := googleVerifier(t, normal)
	if _, err := v.Verify(chain, []byte("challenge"), spring); !errors.Is(err, ErrMalformed) {
		t.Errorf("seven certificates: got %v", err)
	}
	for start := range 2 {
		if _, err := v.Verify(chain[start:6], []byte("challenge"), spring); !errors.Is(err, ErrAttestKey) {
			t.Errorf("from certificate %d: got %v, want %v", start, err, ErrAttestKey)
		}
	}
	if _, err := v.Verify(chain[2:], []byte("challenge"), spring); !errors.Is(err, ErrPurpose) {
		t.Errorf("an attest key itself: got %v, want %v", err, ErrPurpose)
	}
}

func TestPublicStatusList(t *testing.T) {
	list, err := os.ReadFile("testdata/status.json")
	if err != nil {
		t.Fatal(err)
	}
	r, err := ParseRevocation(list)
	if err != nil {
		t.Fatal(err)
	}
	if r.Len() != 5 {
		t.Errorf("got %d entries, want 5", r.Len())
	}
	hexSerial, _ := new(big.Int).SetString("cc66e9a93713b6e643b26c15879786f7", 16)
	decimal, _ := new(big.Int).SetString("6681152659205225093", 10)
	if !r.has(hexSerial) || !r.has(decimal) || r.has(big.NewInt(1)) {
		t.Error("serials of the list are not found, or others are")
	}
}
