package cwt

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/cose"
)

var errUnknownKey = errors.New("unknown key")

// house is an authorization server and a device that know each other.
type house struct {
	signer  *ecdsa.PrivateKey
	token   cose.SymmetricKey // purpose "token"
	cnf     cose.SymmetricKey // purpose "cnf"
	mac     *cose.Key         // of those who take no encryption
	private *ecdh.PrivateKey  // of the device
}

func newHouse(tb testing.TB) *house {
	tb.Helper()
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	private, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	mac, err := cose.NewKey(bytes.Repeat([]byte{4}, 32), cose.KeyOptions{ID: cose.KeyID{1}, Algorithm: cose.HMAC256})
	if err != nil {
		tb.Fatal(err)
	}
	return &house{
		signer: signer, private: private, mac: mac,
		token: cose.SymmetricKey{K: bytes.Repeat([]byte{1}, 16), ID: cose.KeyID{1}, Algorithm: cose.AESCCM16_128_128},
		cnf:   cose.SymmetricKey{K: bytes.Repeat([]byte{2}, 16), ID: cose.KeyID{1}, Algorithm: cose.AESCCM16_128_128},
	}
}

func (h *house) sign1() Sign1 { return Sign1{Signer: h.signer, ID: cose.KeyID{1}} }

func (h *house) protections() map[string]Protection {
	return map[string]Protection{
		"Encrypt0": Encrypt0{h.token},
		"Sign1":    h.sign1(),
		"Nested":   Nested{Sign1: h.sign1(), Encrypt0: Encrypt0{h.token}},
		"Mac0":     Mac0{h.mac},
	}
}

func (h *house) keys() Keys {
	return Keys{Decrypt: cose.Only(h.token), Find: cose.With(h.mac), Verify: func(alg cose.Algorithm, kid cose.KeyID) (*ecdsa.PublicKey, error) {
		if alg != cose.ES256 || !bytes.Equal(kid, []byte{1}) {
			return nil, errUnknownKey
		}
		return &h.signer.PublicKey, nil
	}}
}

func (h *house) opener() KeyOpener {
	return KeyOpener{Shared: cose.Only(h.cnf), Private: func(cose.Algorithm, cose.KeyID) (*ecdh.PrivateKey, error) { return h.private, nil }}
}

func possessionKey() *cose.Key { return cose.NewSymmetric(bytes.Repeat([]byte{3}, 16), cose.KeyID{5}) }

func inputMaterial() *pop.InputMaterial {
	return &pop.InputMaterial{ID: []byte{5}, MasterSecret: bytes.Repeat([]byte{3}, 16)}
}

// encrypted is a confirmation that may be shown to everyone.
func (h *house) encrypted(tb testing.TB) pop.Confirmation {
	tb.Helper()
	data, err := EncryptKey(possessionKey(), h.cnf, rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return pop.Confirmation{Encrypted: data}
}

// minimal has the claims of D's size table: audience, scope of two short paths, exp and cnf.
func minimal(cnf pop.Confirmation) *pop.Claims {
	return &pop.Claims{
		Audience: "dabcdefghijklm", Expires: time.Unix(1800000000, 0), Confirmation: cnf,
		Scope: aif.New(aif.Entry{Path: "/door", Methods: aif.POST}, aif.Entry{Path: "/alarm", Methods: aif.POST}),
	}
}

// full adds what every device token carries (D6, D7).
func full(cnf pop.Confirmation) *pop.Claims {
	c := minimal(cnf)
	c.IssuedAt = time.Unix(1799990000, 0)
	c.ExpiresIn = 2 * time.Hour
	c.ID = []byte("device-1\x00\x06\x8d\xb1\x00\x00\x00\x01")
	c.Profile = pop.ProfileCoAPOSCORE
	c.Grant = &pop.GrantRef{Epoch: 1790000000, Grant: pop.GrantID{1, 2, 3, 4, 5, 6, 7, 8}}
	return c
}

// everything has every claim a CWT can carry.
func everything(cnf pop.Confirmation) *pop.Claims {
	c := full(cnf)
	c.Issuer, c.Subject = "https://as.example", "alice"
	c.NotBefore = time.Unix(1799990000, 0)
	c.CNonce = []byte{}
	c.Grant.Once = []uint{0, 1}
	return c
}

func mustSeal(tb testing.TB, c *pop.Claims, p Protection) []byte {
	tb.Helper()
	token, err := Seal(c, p, rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return token
}
