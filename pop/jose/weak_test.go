package jose_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/jose"
)

// TestNobodyProvesPossessionOfAWeakKey: for each key of small order the signature R = 1, S = 0, which needs no private key,
// is good for many messages. It is searched for here, so that the keys are known to be weak, and then sent.
func TestNobodyProvesPossessionOfAWeakKey(t *testing.T) {
	forged := append([]byte{1}, make([]byte, 63)...)
	for _, digits := range []string{
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0000000000000000000000000000000000000000000000000000000000000080",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000080",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
	} {
		public, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatal(err)
		}
		header := fmt.Sprintf(`{"typ":"dpop+jwt","alg":"EdDSA","jwk":{"kty":"OKP","crv":"Ed25519","x":%q}}`, b64(string(public)))
		weak := false
		for i := 0; i < 200 && !weak; i++ {
			input := b64(header) + "." + b64(fmt.Sprintf(`{"jti":"weak-%04d","htm":"POST","htu":%q,"iat":%d}`, i, proofURL, proofTime.Unix()))
			if weak = ed25519.Verify(public, []byte(input), forged); !weak {
				continue
			}
			if got, err := jose.VerifyProof(input+"."+b64(string(forged)), expectProof()); err == nil {
				t.Errorf("%s: a proof by nobody was taken: %+v", digits, got)
			}
		}
		if !weak {
			t.Errorf("%s is no weak key", digits)
		}
		if key, err := jose.NewKey(ed25519.PublicKey(public), ""); err == nil {
			t.Errorf("%s: got %v", digits, key)
		}
	}
}

func TestConfirmsOnlyWhatIsNamed(t *testing.T) {
	key := issuerKey(t, "a")
	other, err := jose.NewKey(&newKey().PublicKey, "a")
	if err != nil {
		t.Fatal(err)
	}
	shared, err := jose.NewSecretKey(make([]byte, 32), "a")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*jose.Confirmation{"jwk": {Key: issuerKey(t, "another id")}, "jkt": {Thumbprint: key.Thumbprint()}} {
		if !c.Confirms(key) || c.Confirms(other) || c.Confirms(shared) || c.Confirms(nil) || c.ConfirmsCertificate([]byte("x")) {
			t.Errorf("%s: confirms another key, or not its own", name)
		}
	}
	for name, c := range map[string]*jose.Confirmation{"nothing": nil, "no method": {}, "kid": {KeyID: "a"}, "x5t#S256": {Certificate: key.Thumbprint()}} {
		if c.Confirms(key) || c.Confirms(shared) || c.ConfirmsCertificate(nil) {
			t.Errorf("%s: confirms a key", name)
		}
	}
	sum := jose.Thumbprint(sha256.Sum256([]byte("a certificate")))
	c := &jose.Confirmation{Certificate: sum}
	if !c.ConfirmsCertificate([]byte("a certificate")) || c.ConfirmsCertificate([]byte("a certificate ")) {
		t.Error("x5t#S256: confirms another certificate, or not its own")
	}
}
