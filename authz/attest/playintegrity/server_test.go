package playintegrity_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz/attest"
	"github.com/latchkey-ace/latchkey/authz/attest/platform"
	"github.com/latchkey-ace/latchkey/authz/attest/platform/platformtest"
	"github.com/latchkey-ace/latchkey/authz/attest/playintegrity"
	"github.com/latchkey-ace/latchkey/storage"
)

func world(t *testing.T, v *platform.Verifiers, apps ...string) *platformtest.World {
	t.Helper()
	clock := func() time.Time { return playintegrity.Now }
	store, err := storage.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "as.db"), storage.Options{Key: storage.StoreKey{1}, Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return platformtest.New(t, store, v, playintegrity.Now, apps...)
}

// bound is what an app asks Google with.
func bound(w *platformtest.World, challenge string) string {
	sum := sha256.Sum256(w.Bound(challenge))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func shown(token string) map[string]any {
	return map[string]any{"kind": "play-integrity", "integrity_token": token}
}

// TestServerVouches: a phone shows a fresh verdict each time; no verdict counts for another challenge, key or app, and none twice.
func TestServerVouches(t *testing.T) {
	g, v := playintegrity.NewGoogle(t)
	w := world(t, &platform.Verifiers{Play: v}, playintegrity.Door)
	fresh := func(challenge string) map[string]any {
		return shown(g.Verdict(t, playintegrity.Claims(bound(w, challenge), w.Now)))
	}
	var last map[string]any
	for range 2 {
		c := w.Challenge()
		last = fresh(c)
		got := w.Vouched(w.Ask(c, last))
		if want := (attest.Verdict{Kind: attest.PlayIntegrity, App: playintegrity.Door, System: attest.SystemVerified, At: w.Now}); got.String() != want.String() {
			t.Errorf("got %v, want %v", got, want)
		}
		if !strings.Contains(w.Reason(), "play-integrity") {
			t.Errorf("on record: %q", w.Reason())
		}
		status, answer := w.Ask(c, last)
		w.Refused("played again", "use_attestation_challenge", "", status, answer)
		w.Now = w.Now.Add(time.Hour)
	}
	refused := func(name, says string, evidence map[string]any) {
		t.Helper()
		status, answer := w.Ask(w.Challenge(), evidence)
		w.Refused(name, "invalid_client_attestation", says, status, answer)
	}
	refused("for another challenge", "another challenge", last)
	refused("no verdict", "missing", map[string]any{"kind": "play-integrity"})
	refused("no token", "malformed", shown("x"))
	refused("a platform that does not count", "does not count", map[string]any{"kind": "key-attestation"})

	c := w.Challenge()
	evidence := fresh(c)
	owner := w.Key
	var err error
	if w.Key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	status, answer := w.Ask(c, evidence)
	w.Refused("with another key", "invalid_client_attestation", "another key", status, answer)
	w.Key = owner

	stranger, _ := playintegrity.NewGoogle(t)
	for name, tt := range map[string]struct {
		says   string
		change func(map[string]map[string]any)
	}{
		"another app":           {"not allowed", func(c map[string]map[string]any) { c["appIntegrity"]["packageName"] = "com.example.clone" }},
		"an app from elsewhere": {"distributes", func(c map[string]map[string]any) { c["appIntegrity"]["appRecognitionVerdict"] = "UNRECOGNIZED_VERSION" }},
		"an old verdict":        {"too old", func(c map[string]map[string]any) { c["requestDetails"]["timestampMillis"] = "1675655009345" }},
		"an emulator": {"emulator", func(c map[string]map[string]any) {
			c["deviceIntegrity"]["deviceRecognitionVerdict"] = []string{"MEETS_VIRTUAL_INTEGRITY"}
		}},
		"an answer for testing": {"testing", func(c map[string]map[string]any) { c["testingDetails"] = map[string]any{"isTestingResponse": true} }},
	} {
		c := w.Challenge()
		claims := playintegrity.Claims(bound(w, c), w.Now)
		tt.change(claims)
		status, answer := w.Ask(c, shown(g.Verdict(t, claims)))
		w.Refused(name, "invalid_client_attestation", tt.says, status, answer)
	}
	c = w.Challenge()
	status, answer = w.Ask(c, shown(stranger.Verdict(t, playintegrity.Claims(bound(w, c), w.Now))))
	w.Refused("somebody else's keys", "invalid_client_attestation", "not encrypted", status, answer)
	c = w.Challenge()
	status, answer = w.Ask(c, map[string]any{"kind": "play-integrity", "integrity_token": 7})
	w.Refused("a token that is no text", "invalid_request", "", status, answer)
}

// TestServerGrades: a phone with basic integrity is vouched for as degraded, if that is allowed; a client is called only what it may be.
func TestServerGrades(t *testing.T) {
	g, v := playintegrity.NewGoogle(t)
	basic := func(w *platformtest.World) (int, map[string]any) {
		c := w.Challenge()
		claims := playintegrity.Claims(bound(w, c), w.Now)
		claims["deviceIntegrity"]["deviceRecognitionVerdict"] = []string{"MEETS_BASIC_INTEGRITY"}
		return w.Ask(c, shown(g.Verdict(t, claims)))
	}
	strict := world(t, &platform.Verifiers{Play: v}, playintegrity.Door)
	status, answer := basic(strict)
	strict.Refused("basic integrity", "invalid_client_attestation", "system was changed", status, answer)
	lenient := world(t, &platform.Verifiers{Play: v, Degraded: true}, playintegrity.Door)
	if got := lenient.Vouched(basic(lenient)); got.System != attest.SystemDegraded || got.Key != attest.KeyUnknown || got.App != playintegrity.Door {
		t.Errorf("%+v", got)
	}
	elsewhere := world(t, &platform.Verifiers{Play: v}, "com.example.another")
	c := elsewhere.Challenge()
	status, answer = elsewhere.Ask(c, shown(g.Verdict(t, playintegrity.Claims(bound(elsewhere, c), elsewhere.Now))))
	elsewhere.Refused("a client that is called otherwise", "invalid_client_attestation", "another app", status, answer)
}
