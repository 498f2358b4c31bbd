package appattest_test

import (
	"encoding/base64"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz/attest"
	"github.com/latchkey-ace/latchkey/authz/attest/platform"
	"github.com/latchkey-ace/latchkey/authz/attest/platform/platformtest"
	"github.com/latchkey-ace/latchkey/storage"
)

func base64url(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// TestServerVouches: an instance shows its attestation once and assertions after; the server vouches for it, and for nobody who plays
// one again, counts backwards, or shows it for another key, challenge, app or client.
func TestServerVouches(t *testing.T) {
	a, e := newApple(t), genuine(t)
	v := a.verifier()
	store := must(storage.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "as.db"), storage.Options{Key: storage.StoreKey{1}, Now: func() time.Time { return now }}))
	defer store.Close()
	w := platformtest.New(t, store, &platform.Verifiers{Apple: v}, now, e.App)
	shown := func(challenge string) map[string]any {
		e.ClientData = w.Bound(challenge)
		return map[string]any{"kind": "app-attest", "key_id": base64url(e.CredentialID), "attestation_object": base64url(e.object(t, a))}
	}
	c := w.Challenge()
	first := shown(c)
	if got := w.Vouched(w.Ask(c, first)); got.Kind != attest.AppAttest || got.Key != attest.KeyHardware || got.App != e.App || !got.At.Equal(w.Now) {
		t.Errorf("%+v", got)
	}
	if !strings.Contains(w.Reason(), "app-attest") {
		t.Errorf("on record: %q", w.Reason())
	}
	status, answer := w.Ask(c, first)
	w.Refused("played again", "use_attestation_challenge", "", status, answer)
	c = w.Challenge()
	status, answer = w.Ask(c, first)
	w.Refused("for another challenge", "invalid_client_attestation", "another challenge", status, answer)
	c = w.Challenge()
	status, answer = w.Ask(c, shown(c))
	w.Refused("attested a second time", "invalid_client_attestation", "used before", status, answer)

	says := func(challenge string, counter uint32) map[string]any {
		s := usual()
		s.Counter, s.ClientData = counter, w.Bound(challenge)
		return map[string]any{"kind": "app-attest", "key_id": base64url(e.CredentialID), "assertion": base64url(s.sign(t, e.Key))}
	}
	for _, counter := range []uint32{1, 7} {
		c = w.Challenge()
		if got := w.Vouched(w.Ask(c, says(c, counter))); got.Kind != attest.AppAttest {
			t.Errorf("%+v", got)
		}
	}
	for name, counter := range map[string]uint32{"the same count": 7, "a count that goes back": 3} {
		c = w.Challenge()
		status, answer = w.Ask(c, says(c, counter))
		w.Refused(name, "invalid_client_attestation", "counter", status, answer)
	}
	c = w.Challenge()
	status, answer = w.Ask(c, says(w.Challenge(), 8))
	w.Refused("an assertion for another challenge", "invalid_client_attestation", "not signed", status, answer)
	c = w.Challenge()
	unknown := says(c, 9)
	unknown["key_id"] = base64url(make([]byte, 32))
	status, answer = w.Ask(c, unknown)
	w.Refused("an instance that nobody knows", "invalid_client_attestation", "not known", status, answer)
	c = w.Challenge()
	elsewhere := says(c, 10)
	elsewhere["client_id"] = "elsewhere"
	status, answer = w.Ask(c, elsewhere)
	w.Refused("a client for which others vouch", "invalid_client", "", status, answer)
	for name, evidence := range map[string]map[string]any{
		"no evidence": {"kind": "app-attest"}, "another platform": {"kind": "play-integrity", "integrity_token": "x"},
		"for development": {"kind": "development"}, "by a service": {"kind": "service"},
	} {
		c = w.Challenge()
		status, answer = w.Ask(c, evidence)
		w.Refused(name, "invalid_client_attestation", "", status, answer)
	}
	for name, evidence := range map[string]map[string]any{
		"a kind that does not exist": {"kind": "magic"}, "a broken text": {"kind": "app-attest", "key_id": "="}, "another type": {"kind": 7},
	} {
		c = w.Challenge()
		status, answer = w.Ask(c, evidence)
		w.Refused(name, "invalid_request", "", status, answer)
	}
	c = w.Challenge()
	stolen := says(c, 11)
	stolen["proof"] = "x"
	status, answer = w.Ask(c, stolen)
	w.Refused("without a proof of the key", "invalid_client_attestation", "proof", status, answer)
	status, answer = w.Ask("mine", says("mine", 12))
	w.Refused("a challenge of nobody's", "use_attestation_challenge", "", status, answer)
}
