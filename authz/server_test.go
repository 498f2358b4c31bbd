package authz_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/grant"
)

// TestServersShareTheirKey: all servers on one store, also those that start at once, have the same key that signs and the same
// that waits.
func TestServersShareTheirKey(t *testing.T) {
	w := newWorld(t)
	first := w.server.PublicKeys()
	keys := make([]map[string]*ecdsa.PublicKey, 8)
	var all sync.WaitGroup
	for i := range keys {
		all.Go(func() {
			s, err := authz.New(t.Context(), issuer, w.store, grant.New(rand.Reader), authz.Options{})
			if err != nil {
				t.Error(err)
				return
			}
			keys[i] = s.PublicKeys()
		})
	}
	all.Wait()
	for _, k := range keys {
		if len(k) != 2 || k["1"] == nil || k["2"] == nil || !k["1"].Equal(first["1"]) || !k["2"].Equal(first["2"]) {
			t.Errorf("got %v", k)
		}
	}
}

// TestUnusableSigningKeys: a key that tokens cannot be signed with stops the server before it serves.
func TestUnusableSigningKeys(t *testing.T) {
	wrong, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := x509.MarshalPKCS8PrivateKey(wrong)
	if err != nil {
		t.Fatal(err)
	}
	for name, private := range map[string][]byte{"not on P-256": p384, "signing key 3": {1, 2, 3}} {
		w := newWorld(t)
		w.must(w.store.AddSigningKey(t.Context(), authz.SigningKey{ID: "3", Private: private, CreatedAt: evening.Add(time.Hour)}))
		_, err := authz.New(t.Context(), issuer, w.store, grant.New(rand.Reader), authz.Options{})
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestZeroOptions: the defaults alone make a server that works.
func TestZeroOptions(t *testing.T) {
	w := newWorld(t)
	s, err := authz.New(t.Context(), issuer, w.store, grant.New(rand.Reader), authz.Options{})
	w.must(err)
	if s.Issuer() != issuer || s.Store() == nil || time.Since(s.Now()) > time.Minute {
		t.Errorf("issuer %s, now %v", s.Issuer(), s.Now())
	}
	s.ClientRefused(t.Context(), "nobody", "")
	if all := w.audit(); len(all) != 1 || all[0].Client != "nobody" || all[0].Reason != "client authentication" {
		t.Errorf("on record %+v", all)
	}
}

func TestSecretsDiffer(t *testing.T) {
	value, hash, err := authz.Secret(rand.Reader)
	if err != nil || len(value) != 43 || string(hash) != string(authz.HashSecret(value)) || len(hash) != 32 {
		t.Errorf("a secret of %d letters with a hash of %d bytes, %v", len(value), len(hash), err)
	}
	if other, _, _ := authz.Secret(rand.Reader); other == value {
		t.Error("two secrets are equal")
	}
}
