package appattest_test

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/latchkey-ace/latchkey/authz/attest/appattest"
)

// What a server does: it trusts Apple's root, names its apps, and keeps the attested key with its counter.
func Example() {
	root, err := os.ReadFile("testdata/apple-root.pem")
	if err != nil {
		fmt.Println(err)
		return
	}
	v := &appattest.Verifier{Roots: x509.NewCertPool(), Apps: []string{"A1B2C3D4E5.com.example.latchkey"}}
	v.Roots.AppendCertsFromPEM(root)

	object, keyID := []byte{0xa0}, make([]byte, 32) // from the app
	_, err = v.Attest(object, keyID, []byte("the challenge"), time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC))
	fmt.Println(err)
	fmt.Println(errors.Is(err, appattest.ErrMalformed))
	// Output:
	// app attest: the evidence is not in Apple's form: attestation object
	// true
}
