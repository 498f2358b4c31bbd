package httpapi_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/client"
)

func instanceKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// instance is an installation of a public app.
func (w *world) instance(key crypto.Signer) *client.Client {
	w.t.Helper()
	c, err := client.Discover(w.t.Context(), w.url, client.Options{ID: "pocket", Rand: rand.Reader, Now: w.clock.now, DPoP: key})
	w.must(err)
	return c
}

// TestPublicAppRefreshes: an app without a secret gets refresh tokens for the key of its installation, and no other installation
// can redeem its codes or use them (RFC 9449 §5, §10); where the server wants a nonce too.
func TestPublicAppRefreshes(t *testing.T) {
	for _, nonce := range []bool{false, true} {
		w := newWorld(t)
		w.options.DPoPNonce = nonce
		w.serve(w.store)
		w.client(authz.Client{ID: "pocket", AuthMethod: authz.AuthNone, RedirectURIs: []string{redirect}, GrantTypes: []string{authz.AuthorizationCode, authz.RefreshToken}})
		w.give("mother", unlock)
		key := instanceKey(t)
		app, bare, thief := w.instance(key), w.instance(nil), w.instance(instanceKey(t))

		code, err := app.Headless(t.Context(), forDoor, "mother", password)
		w.must(err)
		for name, other := range map[string]*client.Client{"no key": bare, "another key": thief} {
			if _, err := other.Token(t.Context(), client.Want{Code: &code}, new(saved).save); err == nil {
				t.Errorf("nonce %t: a code redeemed with %s", nonce, name)
			}
		}
		var kept saved
		session, err := app.Token(t.Context(), client.Want{Code: &code}, kept.save)
		w.must(err)
		if session.Saved().Refresh == "" {
			t.Fatalf("nonce %t: no refresh token", nonce)
		}
		w.clock.move(time.Minute)
		for name, other := range map[string]*client.Client{"no key": bare, "another key": thief} {
			err := client.Restore(session.Saved(), new(saved).save, rand.Reader).Refresh(t.Context(), other, false)
			if !refusedWith(err, ace.InvalidGrant) && !(nonce && other == bare && err != nil) {
				t.Errorf("nonce %t: a refresh with %s: %v", nonce, name, err)
			}
		}
		for range 2 {
			before := session.Saved()
			w.must(session.Refresh(t.Context(), app, false))
			if after := session.Saved(); string(after.Token) == string(before.Token) || string(after.Secret) != string(before.Secret) {
				t.Errorf("nonce %t: not a new token for the same possession key", nonce)
			}
			w.clock.move(10 * time.Minute) // the nonce is too old by then
		}
	}
}
