package keyattest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz/attest"
	"github.com/latchkey-ace/latchkey/authz/attest/keyattest"
	"github.com/latchkey-ace/latchkey/authz/attest/platform"
	"github.com/latchkey-ace/latchkey/authz/attest/platform/platformtest"
	"github.com/latchkey-ace/latchkey/storage"
)

func world(t *testing.T, v *keyattest.Verifier, degraded bool) *platformtest.World {
	t.Helper()
	clock := func() time.Time { return keyattest.Now }
	store, err := storage.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "as.db"), storage.Options{Key: storage.StoreKey{1}, Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return platformtest.New(t, store, &platform.Verifiers{Android: func() *keyattest.Verifier { return v }, Degraded: degraded}, keyattest.Now, keyattest.Door)
}

func shown(chain [][]byte) map[string]any {
	var certificates []string
	for _, der := range chain {
		certificates = append(certificates, base64.RawURLEncoding.EncodeToString(der))
	}
	return map[string]any{"kind": "key-attestation", "certificates": certificates}
}

// TestServerVouches: a phone shows the chain of its key once and proves the key after; nobody else does with that chain.
func TestServerVouches(t *testing.T) {
	phone, v := keyattest.NewPhone(t)
	w := world(t, v, false)
	thief := w.Key
	w.Key = phone.Key().(*ecdsa.PrivateKey)

	c := w.Challenge()
	status, answer := w.Ask(c, map[string]any{"kind": "key-attestation"})
	w.Refused("without a chain, at first", "invalid_client_attestation", "not known", status, answer)
	c = w.Challenge()
	chain := phone.Attest(t, c, true)
	if got := w.Vouched(w.Ask(c, shown(chain))); got.Kind != attest.KeyAttestation || got.Key != attest.KeyHardware || got.System != attest.SystemVerified || got.App != keyattest.Door {
		t.Errorf("%+v", got)
	}
	first := w.Now
	w.Now = w.Now.Add(time.Hour)
	c = w.Challenge()
	if got := w.Vouched(w.Ask(c, map[string]any{"kind": "key-attestation"})); !got.At.Equal(first.Truncate(time.Second)) || got.System != attest.SystemVerified {
		t.Errorf("an hour later: %+v", got)
	}
	c = w.Challenge()
	status, answer = w.Ask(c, shown(chain))
	w.Refused("the chain again", "invalid_client_attestation", "challenge", status, answer)
	c = w.Challenge()
	status, answer = w.Ask(c, shown(phone.Attest(t, c, true)))
	w.Refused("the key attested again", "invalid_client_attestation", "used before", status, answer)

	w.Key = thief
	c = w.Challenge()
	status, answer = w.Ask(c, shown(phone.Attest(t, c, true)))
	w.Refused("a chain of another key", "invalid_client_attestation", "not the key of this instance", status, answer)
	c = w.Challenge()
	status, answer = w.Ask(c, map[string]any{"kind": "key-attestation"})
	w.Refused("another key without a chain", "invalid_client_attestation", "not known", status, answer)
	c = w.Challenge()
	status, answer = w.Ask(c, map[string]any{"kind": "app-attest", "key_id": "AA", "attestation_object": "AA"})
	w.Refused("a platform that does not count", "invalid_client_attestation", "does not count", status, answer)
}

// TestServerGrades: an unlocked phone is vouched for as degraded, if that is allowed; one whose root is not known is not.
func TestServerGrades(t *testing.T) {
	phone, v := keyattest.NewPhone(t)
	strict := world(t, v, false)
	strict.Key = phone.Key().(*ecdsa.PrivateKey)
	first := strict.Challenge()
	code, told := strict.Ask(first, shown(phone.Attest(t, first, false)))
	strict.Refused("unlocked", "invalid_client_attestation", "system was changed", code, told)
	w := world(t, v, true)
	w.Key = phone.Key().(*ecdsa.PrivateKey)
	c := w.Challenge()
	if got := w.Vouched(w.Ask(c, shown(phone.Attest(t, c, false)))); got.System != attest.SystemDegraded || got.Key != attest.KeyHardware {
		t.Errorf("unlocked: %+v", got)
	}
	stranger, _ := keyattest.NewPhone(t)
	w.Key = stranger.Key().(*ecdsa.PrivateKey)
	c = w.Challenge()
	status, answer := w.Ask(c, shown(stranger.Attest(t, c, true)))
	w.Refused("another root", "invalid_client_attestation", "root", status, answer)
	forged, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w.Key = forged
	c = w.Challenge()
	chain := phone.Attest(t, c, true)
	chain[0], chain[1] = chain[1], chain[0]
	status, answer = w.Ask(c, shown(chain))
	w.Refused("certificates in another order", "invalid_client_attestation", "", status, answer)
	c = w.Challenge()
	status, answer = w.Ask(c, shown(phone.Attest(t, c, true)[:1]))
	w.Refused("a chain that was cut", "invalid_client_attestation", "", status, answer)
}

// TestRevokedLater: a phone that is remembered counts no more once a certificate of its chain is revoked, or its app is taken from the
// settings.
func TestRevokedLater(t *testing.T) {
	phone, v := keyattest.NewPhone(t)
	w := world(t, v, false)
	w.Key = phone.Key().(*ecdsa.PrivateKey)
	c := w.Challenge()
	chain := phone.Attest(t, c, true)
	w.Vouched(w.Ask(c, shown(chain)))
	again := func() (int, map[string]any) {
		c = w.Challenge()
		return w.Ask(c, map[string]any{"kind": "key-attestation"})
	}
	w.Vouched(again())
	for i, der := range chain[:len(chain)-1] {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		list := fmt.Sprintf(`{"entries":{"%s":{"status":"REVOKED"}}}`, cert.SerialNumber.Text(16))
		if v.Revoked, err = keyattest.ParseRevocation([]byte(list)); err != nil {
			t.Fatal(err)
		}
		status, answer := again()
		w.Refused(fmt.Sprintf("certificate %d revoked", i), "invalid_client_attestation", "revoked", status, answer)
	}
	v.Revoked = nil
	w.Vouched(again())
	apps := v.Apps
	v.Apps = []keyattest.App{{Package: "com.example.other", Digests: apps[0].Digests}}
	status, answer := again()
	w.Refused("an app that is no longer in the settings", "invalid_client_attestation", "not allowed", status, answer)
}
