package clientauth_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/clientauth"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/jose"
	"github.com/latchkey-ace/latchkey/storage"
)

const issuer = "https://as.example"

var evening = time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC)

// world is an authenticator on a real store.
type world struct {
	t       testing.TB
	store   authz.Store
	options clientauth.Options
	refused []string // ids that were refused
	keys    map[string]crypto.Signer
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, keys: map[string]crypto.Signer{}}
	now := func() time.Time { return evening }
	store, err := storage.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "as.db"), storage.Options{Key: storage.StoreKey{1}, Now: now})
	w.must(err)
	w.store = store
	t.Cleanup(func() { w.must(store.Close()) })
	w.options = clientauth.Options{Issuer: issuer, Now: now, Refused: func(_ context.Context, id, _ string) { w.refused = append(w.refused, id) }}
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) client(c authz.Client) {
	w.t.Helper()
	w.must(w.store.AddClient(w.t.Context(), c))
}

func (w *world) authenticate(p clientauth.Presented) (authz.Client, []authz.Use, error) {
	w.t.Helper()
	s, err := clientauth.New(w.store, w.options).Authenticate(w.t.Context(), p)
	return s.Client, s.Uses, err
}

// good wants the client to be let in.
func (w *world) good(p clientauth.Presented, id string) []authz.Use {
	w.t.Helper()
	c, uses, err := w.authenticate(p)
	if err != nil || c.ID != id || len(w.refused) != 0 {
		w.t.Fatalf("got %q, %v, refused %q", c.ID, err, w.refused)
	}
	return uses
}

// bad wants the one answer, and the refusal to be heard of.
func (w *world) bad(p clientauth.Presented, id string) {
	w.t.Helper()
	w.refused = nil
	c, uses, err := w.authenticate(p)
	var told *ace.Error
	if !errors.As(err, &told) || told.Code != ace.InvalidClient || told.Description != "unknown client or wrong credentials" || c.ID != "" || uses != nil {
		w.t.Fatalf("got client %q, uses %v, %v", c.ID, uses, err)
	}
	if len(w.refused) != 1 || w.refused[0] != id {
		w.t.Errorf("refused %q, want %q", w.refused, id)
	}
	w.refused = nil
}

// key is a key pair of this name, made once.
func (w *world) key(name string) crypto.Signer {
	w.t.Helper()
	if k := w.keys[name]; k != nil {
		return k
	}
	var k crypto.Signer
	var err error
	switch {
	case strings.HasPrefix(name, "ed25519"):
		_, k, err = ed25519.GenerateKey(rand.Reader)
	case strings.HasPrefix(name, "p384"):
		k, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	default:
		k, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	w.must(err)
	w.keys[name] = k
	return k
}

// set is a JWK Set with the public halves of keys under their names.
func (w *world) set(names ...string) string {
	w.t.Helper()
	var list []*jose.Key
	for _, name := range names {
		k, err := jose.NewKey(w.key(name).Public(), name)
		w.must(err)
		list = append(list, k)
	}
	s, err := jose.NewSet(list...)
	w.must(err)
	text, err := s.Encode()
	w.must(err)
	return string(text)
}

// claims are those of a good assertion of a client; change pairs replace some, nil removes one.
func claims(client string, change ...any) map[string]any {
	c := map[string]any{"iss": client, "sub": client, "aud": issuer, "exp": evening.Add(time.Minute).Unix(), "iat": evening.Unix(), "jti": "one"}
	for i := 0; i < len(change); i += 2 {
		delete(c, change[i].(string))
		if change[i+1] != nil {
			c[change[i].(string)] = change[i+1]
		}
	}
	return c
}

func encode(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// sign makes a JWT by hand: pop/jose makes no assertions.
func (w *world) sign(name string, claims any, header ...string) string {
	w.t.Helper()
	h := map[string]string{"alg": "ES256", "kid": name}
	key := w.key(name)
	switch k := key.(type) {
	case ed25519.PrivateKey:
		h["alg"] = "EdDSA"
	case *ecdsa.PrivateKey:
		if k.Curve == elliptic.P384() {
			h["alg"] = "ES384"
		}
	}
	for i := 0; i < len(header); i += 2 {
		h[header[i]] = header[i+1]
	}
	maps.DeleteFunc(h, func(_, v string) bool { return v == "" })
	input := encode(h) + "." + encode(claims)
	return input + "." + base64.RawURLEncoding.EncodeToString(w.signature(key, input))
}

func (w *world) signature(key crypto.Signer, input string) []byte {
	w.t.Helper()
	k, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return ed25519.Sign(key.(ed25519.PrivateKey), []byte(input))
	}
	size, digest := 32, sha256.New()
	if k.Curve == elliptic.P384() {
		size, digest = 48, sha512.New384()
	}
	_, _ = digest.Write([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, k, digest.Sum(nil))
	w.must(err)
	return append(padded(r, size), padded(s, size)...)
}

func padded(n *big.Int, size int) []byte { return n.FillBytes(make([]byte, size)) }

// by presents an assertion.
func by(client, assertion string) clientauth.Presented {
	return clientauth.Presented{ClientID: client, AssertionType: clientauth.AssertionType, Assertion: assertion}
}
