package cwt_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/cwt"
)

// A server signs a token for a lock, with the possession key encrypted to the lock inside.
func Example() {
	server, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	shared := cose.SymmetricKey{K: []byte("sixteen byte key"), ID: cose.KeyID{1}, Algorithm: cose.AESCCM16_128_128}
	encrypted, _ := cwt.EncryptKey(cose.NewSymmetric([]byte("possession key !"), cose.KeyID{7}), shared, rand.Reader)
	token, err := cwt.Seal(&pop.Claims{
		Audience: "front door", Expires: time.Unix(1_800_000_000, 0), Confirmation: pop.Confirmation{Encrypted: encrypted},
		Scope: aif.New(aif.Entry{Path: "/door/unlock", Methods: aif.POST}),
	}, cwt.Sign1{Signer: server, ID: cose.KeyID{9}}, rand.Reader)
	if err != nil {
		fmt.Println(err)
		return
	}

	claims, err := cwt.Open(token, cwt.Keys{Verify: func(cose.Algorithm, cose.KeyID) (*ecdsa.PublicKey, error) { return &server.PublicKey, nil }})
	if err != nil {
		fmt.Println(err)
		return
	}
	key, err := cwt.DecryptKey(claims.Confirmation.Encrypted, cwt.KeyOpener{Shared: cose.Only(shared)})
	fmt.Println(claims.Audience, claims.Scope, key.ID(), err)
	// Output: front door /door/unlock:POST [7] <nil>
}
