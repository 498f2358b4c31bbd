package integrity_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pop "github.com/latchkey-ace/latchkey/pop/integrity"
	"github.com/latchkey-ace/latchkey/pop/jose"
	"github.com/latchkey-ace/latchkey/resource/integrity"
)

var evening = time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC)

const (
	attester = "https://attest.example"
	echo     = "ZWNobw"
	access   = "DPoP access-token"
)

// world is an attester and a device that knows its key.
type world struct {
	t        *testing.T
	key      *ecdsa.PrivateKey
	known    *jose.Key
	verifier *integrity.Verifier
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, key: newKey(t)}
	var err error
	if w.known, err = jose.NewKey(w.key.Public(), "1"); err != nil {
		t.Fatal(err)
	}
	set, err := jose.NewSet(w.known)
	if err != nil {
		t.Fatal(err)
	}
	w.verifier, err = integrity.New(integrity.Options{Keys: set, Issuer: attester, Clients: []string{"door-app"}, Audience: "front-door"})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// token is a good one for the Echo, after a change.
func (w *world) token(change func(*pop.Token)) string {
	w.t.Helper()
	t := pop.Token{Attester: attester, Subject: "door-app", IssuedAt: evening, Expires: evening.Add(time.Minute), Challenge: echo}
	if change != nil {
		change(&t)
	}
	return w.sign(&t, w.key)
}

func (w *world) sign(t *pop.Token, key *ecdsa.PrivateKey) string {
	w.t.Helper()
	text, err := pop.Make(t, jose.Signer{Key: key, ID: "1"})
	if err != nil {
		w.t.Fatal(err)
	}
	return text
}

// forged has the claims of a good token under a header and a signature of the caller's.
func (w *world) forged(header string, sign func(input string) []byte) string {
	w.t.Helper()
	input := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + strings.Split(w.token(nil), ".")[1]
	return input + "." + base64.RawURLEncoding.EncodeToString(sign(input))
}

func toAuthorization(value string) func(*pop.Token) {
	sum := sha256.Sum256([]byte(value))
	return func(t *pop.Token) { t.Challenge, t.Payload = "", sum[:] }
}

// TestGenuine: what a device takes for the word of its attester, and what not (D21).
func TestGenuine(t *testing.T) {
	w := newWorld(t)
	public, err := w.key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := w.known.JWK()
	if err != nil {
		t.Fatal(err)
	}
	withSecret := func(secret []byte) func(string) []byte {
		return func(input string) []byte {
			mac := hmac.New(sha256.New, secret)
			_, _ = mac.Write([]byte(input))
			return mac.Sum(nil)
		}
	}
	spare := &pop.Token{Attester: attester, Subject: "door-app", Expires: evening.Add(time.Minute), Challenge: echo}
	good, minute := w.token(nil), evening.Add(time.Minute)
	for _, tt := range []struct {
		name, token string
		now         time.Time
		want        error
	}{
		{"a good one", good, evening, nil},
		{"at its last second", good, minute.Add(-time.Second), nil},
		{"at its end", good, minute, pop.ErrStale},
		{"at its end, without a clock", good, time.Time{}, nil},
		{"for this door", w.token(func(t *pop.Token) { t.Audience = []string{"back-door", "front-door"} }), evening, nil},
		{"for another door", w.token(func(t *pop.Token) { t.Audience = []string{"back-door"} }), evening, integrity.ErrOther},
		{"for another client", w.token(func(t *pop.Token) { t.Subject = "clone" }), evening, integrity.ErrOther},
		{"for no client", w.token(func(t *pop.Token) { t.Subject = "" }), evening, integrity.ErrOther},
		{"of another attester", w.token(func(t *pop.Token) { t.Attester = "https://other.example" }), evening, integrity.ErrOther},
		{"of an attester without a name", w.token(func(t *pop.Token) { t.Attester = "" }), evening, integrity.ErrOther},
		{"for another Echo", w.token(func(t *pop.Token) { t.Challenge = "ZWNoby" }), evening, integrity.ErrChallenge},
		{"bound to a body, as over HTTP", w.token(toAuthorization(access)), evening, integrity.ErrChallenge},
		{"good for an hour", w.token(func(t *pop.Token) { t.Expires = evening.Add(time.Hour) }), evening, pop.ErrToken},
		{"longer than a datagram has room for", w.token(func(t *pop.Token) {
			t.Verdict = json.RawMessage(`"` + strings.Repeat("a", 1024) + `"`)
		}), evening, integrity.ErrLong},
		{"of another key", w.sign(spare, newKey(t)), evening, pop.ErrToken},
		{"HS256 with the public key", w.forged(`{"alg":"HS256"}`, withSecret(public)), evening, pop.ErrToken},
		{"HS256 with the public key as written", w.forged(`{"alg":"HS256","kid":"1"}`, withSecret(jwk)), evening, pop.ErrToken},
		{"alg none", w.forged(`{"alg":"none"}`, func(string) []byte { return nil }), evening, pop.ErrToken},
		{"of another kind", w.forged(`{"alg":"ES256","typ":"at+jwt","kid":"1"}`, func(string) []byte { return make([]byte, 64) }), evening, pop.ErrToken},
		{"cut", good[:len(good)-1], evening, pop.ErrToken},
		{"garbage", "garbage", evening, pop.ErrToken},
		{"nothing", "", evening, pop.ErrToken},
	} {
		if err := w.verifier.Genuine([]byte(tt.token), echo, tt.now); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
	none := w.token(toAuthorization(access))
	if err := w.verifier.Genuine([]byte(none), "", evening); !errors.Is(err, integrity.ErrChallenge) {
		t.Errorf("a token without a challenge for a request without one: %v", err)
	}
}

// TestKeysArePublic: a device takes no key with which it could vouch for an app itself.
func TestKeysArePublic(t *testing.T) {
	if _, err := integrity.New(integrity.Options{}); err == nil {
		t.Error("a verifier without keys")
	}
	empty, err := jose.NewSet()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := integrity.New(integrity.Options{Keys: empty}); err == nil {
		t.Error("a verifier with an empty set")
	}
	secret := `{"keys":[{"kty":"oct","kid":"1","k":"` + base64.RawURLEncoding.EncodeToString(make([]byte, 32)) + `"}]}`
	if _, err := jose.ParseSet([]byte(secret)); err == nil {
		t.Error("a set with a shared secret is read")
	}
}

// TestHandler: a genuine app's call goes on, and any other learns what to do, from a real server.
func TestHandler(t *testing.T) {
	w := newWorld(t)
	now, calls := evening, 0
	api := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls++ })
	server := httptest.NewServer(w.verifier.Handler(api, func() time.Time { return now }))
	defer server.Close()
	good := w.token(toAuthorization(access))
	for _, tt := range []struct {
		name                   string
		tokens, authorizations []string
		want                   string
	}{
		{"a genuine app", []string{good}, []string{access}, ""},
		{"no token", nil, []string{access}, "invalid_client_attestation"},
		{"two tokens", []string{good, good}, []string{access}, "invalid_client_attestation"},
		{"no access token", []string{good}, nil, "invalid_client_attestation"},
		{"an empty one, to which the token is bound", []string{w.token(toAuthorization(""))}, []string{""}, "invalid_client_attestation"},
		{"two access tokens", []string{good}, []string{access, "Bearer other"}, "invalid_client_attestation"},
		{"another access token", []string{good}, []string{"DPoP other"}, "invalid_client_attestation"},
		{"a token for a door", []string{w.token(nil)}, []string{access}, "invalid_client_attestation"},
		{"another client's", []string{w.token(func(t *pop.Token) { toAuthorization(access)(t); t.Subject = "clone" })}, []string{access}, "invalid_client_attestation"},
		{"garbage", []string{"garbage"}, []string{access}, "invalid_client_attestation"},
	} {
		t.Run(tt.name, func(t *testing.T) { call(t, server.URL, tt.tokens, tt.authorizations, tt.want, &calls) })
	}
	now = evening.Add(time.Minute)
	call(t, server.URL, []string{good}, []string{access}, "use_fresh_attestation", &calls)
}

// call makes one request; want "" is the API's own answer.
func call(t *testing.T, url string, tokens, authorizations []string, want string, calls *int) {
	t.Helper()
	before := *calls
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header[pop.HeaderToken], r.Header["Authorization"] = tokens, authorizations
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if want == "" {
		if answer.StatusCode != http.StatusOK || *calls != before+1 {
			t.Errorf("got %s %s, %d calls", answer.Status, body, *calls-before)
		}
		return
	}
	if answer.StatusCode != http.StatusUnauthorized || *calls != before || string(body) != `{"error":"`+want+`"}` ||
		!strings.Contains(answer.Header.Get("WWW-Authenticate"), want) || answer.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("got %s %s %v, %d calls; want %s", answer.Status, body, answer.Header, *calls-before, want)
	}
}

// TestOnce: where each call wants a token of its own, one counts once, in either spelling of its signature, also of fifty at a time; and
// what is remembered has an end.
func TestOnce(t *testing.T) {
	w := newWorld(t)
	set, err := jose.NewSet(w.known)
	if err != nil {
		t.Fatal(err)
	}
	v, err := integrity.New(integrity.Options{Keys: set, Issuer: attester, Once: true})
	if err != nil {
		t.Fatal(err)
	}
	token := w.token(toAuthorization(access))
	if err := v.Bound(token, "DPoP other", evening); !errors.Is(err, integrity.ErrChallenge) {
		t.Fatalf("for another call: %v", err)
	}
	var passed atomic.Int32
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if v.Bound(token, access, evening) == nil {
				passed.Add(1)
			}
		})
	}
	all.Wait()
	if passed.Load() != 1 {
		t.Errorf("%d of 50 passed", passed.Load())
	}
	if err := v.Bound(otherS(t, token), access, evening); !errors.Is(err, integrity.ErrUsed) {
		t.Errorf("with the other s: %v", err)
	}
	// Signing is slow, so the bound is filled with tokens that nobody verifies.
	for i := range integrity.MaxSpent - 1 {
		integrity.Spend(v, fmt.Sprint(i, "."), evening.Add(time.Minute), evening)
	}
	later := w.token(func(t *pop.Token) { toAuthorization(access)(t); t.Expires = evening.Add(2 * time.Minute) })
	if err := v.Bound(later, access, evening); !errors.Is(err, integrity.ErrUsed) {
		t.Errorf("beyond the bound: %v", err)
	}
	if err := v.Bound(later, access, evening.Add(time.Minute)); err != nil {
		t.Errorf("when the others have ended: %v", err)
	}
	server := httptest.NewServer(v.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), func() time.Time { return evening.Add(time.Minute) }))
	defer server.Close()
	calls := 0
	call(t, server.URL, []string{later}, []string{access}, "use_fresh_attestation", &calls)
}

// otherS is the token with its signature's other spelling: (r, n − s) is as good as (r, s).
func otherS(t *testing.T, token string) string {
	t.Helper()
	at := strings.LastIndexByte(token, '.') + 1
	raw, err := base64.RawURLEncoding.DecodeString(token[at:])
	if err != nil {
		t.Fatal(err)
	}
	s := new(big.Int).SetBytes(raw[32:])
	s.Sub(elliptic.P256().Params().N, s).FillBytes(raw[32:])
	return token[:at] + base64.RawURLEncoding.EncodeToString(raw)
}
