package jose_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-ace/latchkey/pop/jose"
)

// A phone proves with each request that it holds its key; the server learns which key that is, once per proof.
func ExampleVerifyProof() {
	phone, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	now := time.Unix(1_800_000_000, 0)
	proof, err := jose.Prove(jose.ProofFor{Method: "POST", URL: "https://as.example/token"}, phone, now, rand.Reader)
	if err != nil {
		fmt.Println(err)
		return
	}

	expect := jose.ExpectProof{Method: "POST", URL: "https://as.example/token", Now: now.Add(time.Second)}
	p, err := jose.VerifyProof(proof, expect)
	if err != nil {
		fmt.Println(err)
		return
	}
	key, _ := jose.NewKey(&phone.PublicKey, "")
	fmt.Println(p.Thumbprint == key.Thumbprint(), p.Keep)

	expect.Method = "GET"
	_, err = jose.VerifyProof(proof, expect)
	fmt.Println(errors.Is(err, jose.ErrInvalidProof))
	// Output:
	// true 1m11s
	// true
}

// A server rotates its signing key; whoever has fetched its JWK Set in the meantime verifies its tokens.
func ExampleRing() {
	now := time.Unix(1_800_000_000, 0)
	ring, _ := jose.NewRing(jose.Pace{Lead: 24 * time.Hour, Keep: time.Hour})
	for _, kid := range []string{"2027-01", "2027-02"} {
		key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		ring, _ = ring.Rotate(jose.Signer{Key: key, ID: kid}, now)
	}
	signer, _ := ring.Signer(now)
	token, _ := jose.SignAccess(jose.AccessToken{
		Registered: jose.Registered{Issuer: "https://as.example", Subject: "alice", Audience: []string{"https://rs.example"}, ID: "1", IssuedAt: now, Expires: now.Add(time.Hour)},
		ClientID:   "phone", Scope: []string{"view"},
	}, signer)

	published, _ := ring.Set(now)
	jwks, _ := published.Encode()
	theirs, _ := jose.ParseSet(jwks) // fetched over HTTPS by a resource server
	got, err := jose.OpenAccess(token, jose.Expect{Keys: theirs.Find, Issuer: "https://as.example", Audience: "https://rs.example", Now: now})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(got.Subject, got.Scope, got.Verified.KeyID, len(theirs.Keys()))
	// Output: alice [view] 2027-01 2
}

// Any typed token of another party: here an attester vouches for the key of an app.
func ExampleVerify() {
	attester, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	app, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	appKey, _ := jose.NewKey(&app.PublicKey, "")
	now := time.Unix(1_800_000_000, 0)
	token, _ := jose.Make(jose.TypeAttestation, jose.Registered{
		Subject: "phone", Expires: now.Add(5 * time.Minute), Confirmation: &jose.Confirmation{Key: appKey},
	}, nil, jose.Signer{Key: attester, ID: "a1"})

	trusted, _ := jose.NewKey(&attester.PublicKey, "a1")
	got, err := jose.Verify(token, jose.Expect{
		Type: jose.TypeAttestation, Keys: jose.Only(trusted), Now: now,
		Require: []jose.Claim{jose.ClaimSubject, jose.ClaimExpires, jose.ClaimConfirmation},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(got.Subject, got.Confirmation.Key.Equal(appKey))
	// Output: phone true
}
