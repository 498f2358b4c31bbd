package clientauth_test

import (
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/clientauth"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/jose"
)

func (w *world) signers() {
	w.client(authz.Client{ID: "signer", AuthMethod: authz.AuthPrivateKey, Keys: w.set("k", "ed25519", "p384")})
	w.client(authz.Client{ID: "single", AuthMethod: authz.AuthPrivateKey, Keys: w.set("only")})
	w.client(authz.Client{ID: "gone", AuthMethod: authz.AuthPrivateKey, Keys: w.set("k")})
	w.must(w.store.SuspendClient(w.t.Context(), "gone", evening))
	w.client(authz.Client{ID: "keyless", AuthMethod: authz.AuthPrivateKey})
	w.client(authz.Client{ID: "phone", AuthMethod: authz.AuthNone})
	w.client(authz.Client{ID: "poster", AuthMethod: authz.AuthSecretPost, SecretHash: authz.HashSecret("s"), Keys: w.set("k")})
}

func at(d time.Duration) int64 { return evening.Add(d).Unix() }

// TestAssertions: RFC 7523 §3 with the bounds of FAPI 2.0 §5.3.2.1.
func TestAssertions(t *testing.T) {
	w := newWorld(t)
	w.signers()
	good := map[string]clientauth.Presented{
		"ES256":                     by("signer", w.sign("k", claims("signer"))),
		"EdDSA":                     by("signer", w.sign("ed25519", claims("signer"))),
		"ES384":                     by("signer", w.sign("p384", claims("signer"))),
		"without client_id":         by("", w.sign("k", claims("signer"))), // RFC 7521 §4.2
		"without kid, a single key": by("single", w.sign("only", claims("single"), "kid", "")),
		"typ JWT":                   by("signer", w.sign("k", claims("signer"), "typ", "JWT")),
		"without iat":               by("signer", w.sign("k", claims("signer", "iat", nil))),
		"iat 10 s ahead":            by("signer", w.sign("k", claims("signer", "iat", at(10*time.Second)))),
		"nbf 10 s ahead":            by("signer", w.sign("k", claims("signer", "nbf", at(10*time.Second)))),
		"exp in 5 minutes":          by("signer", w.sign("k", claims("signer", "exp", at(clientauth.MaxLife)))),
		"exp in a second":           by("signer", w.sign("k", claims("signer", "exp", at(time.Second)))),
		"another claim":             by("signer", w.sign("k", claims("signer", "purpose", "test"))),
	}
	for name, p := range good {
		t.Run(name, func(t *testing.T) {
			w.t = t
			id := "signer"
			if p.ClientID != "" {
				id = p.ClientID
			}
			uses := w.good(p, id)
			if len(uses) != 1 || uses[0].Kind != authz.UseAssertion || len(uses[0].Value) != 32 || !uses[0].Until.After(evening) {
				t.Errorf("uses %+v", uses)
			}
		})
	}
}

func TestRefusedAssertions(t *testing.T) {
	w := newWorld(t)
	w.signers()
	change := func(pairs ...any) string { return w.sign("k", claims("signer", pairs...)) }
	whole := w.sign("k", claims("signer"))
	parts := strings.Split(whole, ".")
	tests := map[string]string{
		"RFC 7523 §3 1: no issuer":                     change("iss", nil),
		"RFC 7523 §3 1: another issuer":                change("iss", "single"),
		"RFC 7523 §3 2: no subject":                    change("sub", nil),
		"RFC 7523 §3 2: another subject":               change("sub", "single"),
		"RFC 7523 §3 3: no audience":                   change("aud", nil),
		"RFC 7523 §3 3: another server":                change("aud", "https://other.example"),
		"RFC 7523 §3 3: the issuer with a slash":       change("aud", issuer+"/"),
		"FAPI 2.0 §5.3.2.1: aud as array":              change("aud", []string{issuer}),
		"FAPI 2.0 §5.3.2.1: aud of several":            change("aud", []string{issuer, "https://other.example"}),
		"FAPI 2.0 §5.3.2.1: aud is the token endpoint": change("aud", issuer+"/token"),
		"FAPI 2.0 §5.3.2.1: aud is the PAR endpoint":   change("aud", issuer+"/par"),
		"RFC 7523 §3 4: no exp":                        change("exp", nil),
		"RFC 7523 §3 4: exp now":                       change("exp", at(0)),
		"RFC 7523 §3 4: expired by a second":           change("exp", at(-time.Second)),
		"RFC 7523 §3 4: exp a second too far":          change("exp", at(clientauth.MaxLife+time.Second)),
		"RFC 7523 §3 4: exp in a year":                 change("exp", at(365*24*time.Hour)),
		"RFC 7523 §3 4: exp as text":                   change("exp", "2030-01-01"),
		"RFC 7523 §3 5: nbf 61 s ahead":                change("nbf", at(61*time.Second)),
		"RFC 7523 §3 5: nbf 11 s ahead":                change("nbf", at(11*time.Second)),
		"RFC 7523 §3 6: iat 61 s ahead":                change("iat", at(61*time.Second)),
		"RFC 7523 §3 6: iat 11 s ahead":                change("iat", at(11*time.Second)),
		"RFC 7523 §3 6: iat longer ago than any lives": change("iat", at(-clientauth.MaxLife-time.Second)),
		"RFC 7523 §3 7: no jti":                        change("jti", nil),
		"RFC 7523 §3 7: an empty jti":                  change("jti", ""),
		"RFC 7523 §3 9: the key of another client":     w.sign("only", claims("signer"), "kid", "k"),
		"RFC 7523 §3 9: an unknown key":                w.sign("stranger", claims("signer")),
		"RFC 7523 §3 9: no kid and several keys":       w.sign("k", claims("signer"), "kid", ""),
		"RFC 7523 §3 9: alg of another key":            w.sign("k", claims("signer"), "alg", "EdDSA"),
		"RFC 8725 §3.2: alg none":                      encode(map[string]string{"alg": "none"}) + "." + parts[1] + ".",
		"RFC 8725 §3.2: alg none with the signature":   encode(map[string]string{"alg": "none", "kid": "k"}) + "." + parts[1] + "." + parts[2],
		"RFC 8725 §2.1: HS256 with the public key":     w.confuse(),
		"RFC 8725 §3.11: typ of a DPoP proof":          w.sign("k", claims("signer"), "typ", "dpop+jwt"),
		"RFC 8725 §3.11: typ of an access token":       w.sign("k", claims("signer"), "typ", "at+jwt"),
		"RFC 7515 §4.1.3: the key in the header":       w.sign("k", claims("signer"), "jwk", "x"),
		"RFC 7515 §4.1.2: the key behind a URL":        w.sign("k", claims("signer"), "jku", "https://evil.example"),
		"an unknown client":                            w.sign("k", claims("nobody")),
		"a suspended client":                           w.sign("k", claims("gone")),
		"a client without keys":                        w.sign("k", claims("keyless")),
		"a public client":                              w.sign("k", claims("phone")),
		"a client with a secret":                       w.sign("k", claims("poster")),
		"no signature":                                 parts[0] + "." + parts[1] + ".",
		"another signature":                            parts[0] + "." + parts[1] + "." + strings.Split(w.sign("k", claims("single")), ".")[2],
		"other claims under it":                        parts[0] + "." + encode(claims("signer", "jti", "two")) + "." + parts[2],
		"two parts":                                    parts[0] + "." + parts[1],
		"four parts":                                   whole + "." + parts[2],
		"no JWT":                                       "assertion",
		"claims that are no object":                    w.sign("k", []int{1}),
		"too long":                                     change("x", strings.Repeat("a", jose.MaxForeign)),
	}
	for name, assertion := range tests {
		t.Run(name, func(t *testing.T) {
			w.t = t
			id := "signer"
			for _, other := range []string{"nobody", "gone", "keyless", "phone", "poster"} {
				if strings.Contains(assertion, encode(claims(other))) {
					id = other
				}
			}
			w.bad(by(id, assertion), id)
		})
	}
	t.Run("client_id of another client", func(t *testing.T) {
		w.t = t
		w.bad(by("single", whole), "single")
	})
	w.t = t
	for n := range len(whole) {
		if _, _, err := w.authenticate(by("signer", whole[:n])); n > 0 && !errors.Is(err, &ace.Error{Code: ace.InvalidClient}) {
			t.Fatalf("cut to %d: %v", n, err)
		}
	}
}

// confuse takes the public key for a shared secret.
func (w *world) confuse() string {
	public, err := w.key("k").Public().(*ecdsa.PublicKey).Bytes()
	w.must(err)
	input := encode(map[string]string{"alg": "HS256", "kid": "k"}) + "." + encode(claims("signer"))
	mac := hmac.New(sha256.New, public)
	_, _ = mac.Write([]byte(input))
	return input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// TestAssertionOnce: RFC 7523 §3 7. Of sixteen parallel uses one can be spent, and nobody uses up another client's.
func TestAssertionOnce(t *testing.T) {
	w := newWorld(t)
	w.signers()
	p := by("signer", w.sign("k", claims("signer")))
	var all [16][]authz.Use
	for i := range all {
		all[i] = w.good(p, "signer")
	}
	var group sync.WaitGroup
	errs := make([]error, len(all))
	for i, uses := range all {
		group.Go(func() { errs[i] = w.store.UseOnce(t.Context(), evening, uses...) })
	}
	group.Wait()
	won := 0
	for _, err := range errs {
		var again *authz.ReplayedError
		switch {
		case err == nil:
			won++
		case !errors.As(err, &again) || again.Kind != authz.UseAssertion || !errors.Is(err, authz.ErrReplayed):
			t.Errorf("got %v", err)
		}
	}
	if won != 1 {
		t.Errorf("%d uses were spent", won)
	}
	same := w.good(by("single", w.sign("only", claims("single"))), "single") // the same jti
	w.must(w.store.UseOnce(t.Context(), evening, same...))
	// As long as it could be taken it is remembered.
	last := evening.Add(time.Minute - time.Millisecond)
	w.options.Now = func() time.Time { return last }
	if err := w.store.UseOnce(t.Context(), last, w.good(p, "signer")...); !errors.Is(err, authz.ErrReplayed) {
		t.Errorf("in its last moment: %v", err)
	}
}

func (w *world) benchVerify(b *testing.B, assertion string) {
	k, err := jose.NewKey(w.key("k").Public(), "k")
	w.must(err)
	for b.Loop() {
		if _, err := jose.Verify(assertion, jose.Expect{Type: jose.TypeAssertion, Keys: jose.Only(k), Now: evening}); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzAssertion: whatever is presented is refused quietly, but for what was signed.
func FuzzAssertion(f *testing.F) {
	w := newWorld(f)
	w.signers()
	good := w.sign("k", claims("signer"))
	for _, seed := range []string{good, "", "a.b.c", "..", encode(map[string]any{"alg": 1}) + ".e30.e30"} {
		f.Add(seed)
	}
	a := clientauth.New(w.store, clientauth.Options{Issuer: issuer, Now: w.options.Now})
	f.Fuzz(func(t *testing.T, assertion string) {
		_, err := a.Authenticate(t.Context(), by("signer", assertion))
		if err == nil && assertion != good {
			t.Errorf("let in by %q", assertion)
		}
	})
}
