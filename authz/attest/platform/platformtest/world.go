// Package platformtest is a real server for tests of what platforms say of apps: an app instance asks it to vouch, over HTTP on loopback.
// Start from New.
package platformtest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/attest"
	"github.com/latchkey-ace/latchkey/authz/attest/platform"
	"github.com/latchkey-ace/latchkey/authz/console"
	"github.com/latchkey-ace/latchkey/authz/grant"
	"github.com/latchkey-ace/latchkey/authz/httpapi"
	"github.com/latchkey-ace/latchkey/pop/attestation"
	"github.com/latchkey-ace/latchkey/pop/jose"
)

// World is a server that vouches for the client "app".
type World struct {
	t     testing.TB
	Store authz.Store
	Now   time.Time
	URL   string
	Key   *ecdsa.PrivateKey // of the instance

	server *authz.Server
}

// New starts it on an empty store, at a time; apps are what the client may be called by its platform.
func New(t testing.TB, store authz.Store, v *platform.Verifiers, now time.Time, apps ...string) *World {
	t.Helper()
	w := &World{t: t, Now: now, Store: store}
	clock := func() time.Time { return w.Now }
	var err error
	w.Key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.must(err)
	site := httptest.NewUnstartedServer(nil)
	w.URL = "http://" + site.Listener.Addr().String()
	log := slog.New(slog.DiscardHandler)
	w.server, err = authz.New(t.Context(), w.URL, w.Store, grant.New(rand.Reader), authz.Options{Now: clock})
	w.must(err)
	pages, err := console.New(w.server, log)
	w.must(err)
	site.Config.Handler = httpapi.New(w.server, pages, log, httpapi.Options{Platforms: v})
	site.Start()
	t.Cleanup(site.Close)
	for id, settings := range map[string]authz.ClientSettings{
		"app": {Attesters: []string{authz.AttesterPlatform}, Apps: apps}, "elsewhere": {Attesters: []string{"acme"}},
	} {
		w.must(w.Store.AddClient(t.Context(), authz.Client{ID: id, AuthMethod: authz.AuthAttested, GrantTypes: []string{authz.ClientCredentials}, Settings: settings}))
	}
	return w
}

func (w *World) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// Challenge is a fresh one of the server's.
func (w *World) Challenge() string {
	w.t.Helper()
	_, answer := w.post("/attestation-challenge", nil)
	challenge, _ := answer["attestation_challenge"].(string)
	return challenge
}

// Bound is the challenge with the thumbprint of the instance's key: what evidence must be bound to.
func (w *World) Bound(challenge string) []byte {
	w.t.Helper()
	k, err := jose.NewKey(w.Key.Public(), "")
	w.must(err)
	return []byte(challenge + "." + k.Thumbprint().String())
}

// Ask shows evidence, with a good proof of the instance's key unless the evidence names another.
func (w *World) Ask(challenge string, evidence map[string]any) (status int, answer map[string]any) {
	w.t.Helper()
	k, err := jose.NewKey(w.Key.Public(), "")
	w.must(err)
	jwk, err := k.JWK()
	w.must(err)
	proof, err := attestation.Prove(attestation.ProofFor{Audience: w.URL, Challenge: challenge}, w.Key, w.Now, rand.Reader)
	w.must(err)
	all := map[string]any{"client_id": "app", "challenge": challenge, "jwk": jwk, "proof": proof}
	for name, value := range evidence {
		all[name] = value
	}
	body, err := json.Marshal(all)
	w.must(err)
	return w.post("/attestation", body)
}

func (w *World) post(path string, body []byte) (int, map[string]any) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.URL+path, bytes.NewReader(body))
	w.must(err)
	r.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(r)
	w.must(err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	w.must(err)
	var answer map[string]any
	if err := json.Unmarshal(text, &answer); err != nil {
		w.t.Fatalf("%s: %d %q", path, response.StatusCode, text)
	}
	return response.StatusCode, answer
}

// Vouched wants an attestation and returns its verdict.
func (w *World) Vouched(status int, answer map[string]any) attest.Verdict {
	w.t.Helper()
	token, _ := answer["attestation"].(string)
	if status != http.StatusOK || token == "" {
		w.t.Fatalf("not vouched for: %d %v", status, answer)
	}
	a, err := attestation.Verify(token, attestation.Expect{Keys: w.server.PlatformKeys, Now: w.Now})
	w.must(err)
	k, err := jose.NewKey(w.Key.Public(), "")
	w.must(err)
	if a.Client != "app" || a.Attester != w.URL || !a.Key.Equal(k) || a.Expires.Sub(w.Now) > authz.VouchLife {
		w.t.Errorf("%+v", a)
	}
	var v attest.Verdict
	w.must(json.Unmarshal(a.Verdict, &v))
	return v
}

// Refused wants an error that says so, and the reason on record.
func (w *World) Refused(name, code, says string, status int, answer map[string]any) {
	w.t.Helper()
	told, _ := answer["error_description"].(string)
	if status == http.StatusOK || answer["error"] != code || !strings.Contains(told, says) {
		w.t.Errorf("%s: %d %v, want %s %q", name, status, answer, code, says)
	}
}

// Reason is the newest one on record.
func (w *World) Reason() string {
	w.t.Helper()
	all, err := w.Store.AuditTail(w.t.Context(), 1)
	w.must(err)
	if len(all) == 0 {
		return ""
	}
	return all[0].Reason
}
