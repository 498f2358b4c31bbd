package trust_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/attest"
	"github.com/latchkey-ace/latchkey/authz/attest/trust"
	"github.com/latchkey-ace/latchkey/pop/jose"
)

// set is a JWK Set of fresh keys with these ids.
func set(t *testing.T, ids ...string) []byte {
	t.Helper()
	var keys []*jose.Key
	for _, id := range ids {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		k, err := jose.NewKey(private.Public(), id)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	s, err := jose.NewSet(keys...)
	if err != nil {
		t.Fatal(err)
	}
	text, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// folder has a file of attesters and others beside it.
func folder(t *testing.T, attesters string, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "attesters.toml")
	if err := os.WriteFile(path, []byte(attesters), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoad(t *testing.T) {
	secret := base64.StdEncoding.EncodeToString(make([]byte, 32))
	path := folder(t, `
[attester.acme]
issuer = "https://attest.example"
keys = "acme.jwks"
key = "hardware"
os = "verified"

[attester.old]
symmetric = true
secret = "old.secret"

[attester.dev]
issuer = "http://127.0.0.1:9400"
keys = "http://127.0.0.1:9400/jwks"
kind = "development"
says = true
`, map[string]string{"acme.jwks": string(set(t, "a")), "old.secret": secret + "\n"})
	all, err := trust.Load(path, trust.Options{Development: true})
	if err != nil || len(all.Attesters) != 3 || all.Platforms.Any() {
		t.Fatalf("%+v, %v", all, err)
	}
	acme := all.Attesters["acme"]
	if want := (attest.Verdict{Kind: attest.Service, Key: attest.KeyHardware, System: attest.SystemVerified}); acme.Means != want || acme.Says || acme.Symmetric || acme.Issuer != "https://attest.example" {
		t.Errorf("acme: %+v", acme)
	}
	if k, err := acme.Keys("a"); err != nil || k.ID() != "a" {
		t.Errorf("acme's key: %v, %v", k, err)
	}
	if _, err := acme.Keys("b"); !errors.Is(err, jose.ErrUnknownKey) {
		t.Errorf("a key that is not there: %v", err)
	}
	if k, err := all.Attesters["old"].Keys(""); err != nil || k.Algorithm() != jose.HS256 || !all.Attesters["old"].Symmetric {
		t.Errorf("a shared secret: %v, %v", k, err)
	}
	if dev := all.Attesters["dev"]; dev.Means.Kind != attest.Development || !dev.Says {
		t.Errorf("dev: %+v", dev)
	}
}

func TestRefusedFiles(t *testing.T) {
	secret := base64.StdEncoding.EncodeToString(make([]byte, 32))
	files := map[string]string{"k.jwks": string(set(t, "a")), "s": secret, "short": "AAAA", "leaf.pem": certificate(t, false), "root.pem": certificate(t, true), "status.json": `{"entries":{}}`,
		"p256": publicKey(t, elliptic.P256()), "p384": publicKey(t, elliptic.P384())}
	for name, tt := range map[string]struct{ text, says string }{
		"no TOML":                         {"[", "toml"},
		"a key that is not known":         {"[attester.a]\nkeys = \"k.jwks\"\nkind = \"service\"\ncolour = 1\n", "attester.a.colour is not known"},
		"neither keys nor secret":         {"[attester.a]\n", "give keys"},
		"both":                            {"[attester.a]\nkeys = \"k.jwks\"\nsecret = \"s\"\nsymmetric = true\n", "give keys"},
		"a secret without saying so":      {"[attester.a]\nsecret = \"s\"\n", "symmetric = true"},
		"symmetric without a secret":      {"[attester.a]\nkeys = \"k.jwks\"\nsymmetric = true\n", "give keys"},
		"a short secret":                  {"[attester.a]\nsecret = \"short\"\nsymmetric = true\n", "at least 32"},
		"a file that is not there":        {"[attester.a]\nkeys = \"none\"\n", "no such file"},
		"plain http elsewhere":            {"[attester.a]\nkeys = \"http://attest.example/jwks\"\n", "https"},
		"another scheme":                  {"[attester.a]\nkeys = \"ftp://attest.example/jwks\"\n", "https"},
		"a kind that does not exist":      {"[attester.a]\nkeys = \"k.jwks\"\nkind = \"magic\"\n", "magic"},
		"this server's own name":          {"[attester.platform]\nkeys = \"k.jwks\"\n", "this server itself"},
		"apple without roots":             {"[apple]\napps = [\"T.app\"]\n", "root certificates"},
		"apple without apps":              {"[apple]\nroots = \"k.jwks\"\n", "which apps"},
		"apple with roots that are none":  {"[apple]\nroots = \"k.jwks\"\napps = [\"T.app\"]\n", "no certificates"},
		"apple with a leaf":               {"[apple]\nroots = \"leaf.pem\"\napps = [\"T.app\"]\n", "authority"},
		"apple with a strange key":        {"[apple]\nroots = \"k.jwks\"\napps = [\"T.app\"]\nteam = \"T\"\n", "apple.team is not known"},
		"android without roots":           {"[android]\nrevoked = \"status.json\"\n", "root certificates"},
		"android without apps":            {"[android]\nroots = \"root.pem\"\nrevoked = \"status.json\"\n", "which apps"},
		"android without a list":          {"[android]\nroots = \"root.pem\"\n" + androidDoor, "which certificates were revoked"},
		"android with a broken list":      {"[android]\nroots = \"root.pem\"\nrevoked = \"s\"\n" + androidDoor, "revoked"},
		"android with a short digest":     {"[android]\nroots = \"root.pem\"\nrevoked = \"status.json\"\n[[android.app]]\npackage = \"a\"\ndigests = [\"AB\"]\n", "SHA-256"},
		"android with an app of nobody's": {"[android]\nroots = \"root.pem\"\nrevoked = \"status.json\"\n[[android.app]]\npackage = \"a\"\n", "digests"},
		"android with a strange key":      {"[android]\nroots = \"root.pem\"\nrevoked = \"status.json\"\nallow = true\n" + androidDoor, "android.allow is not known"},
		"play without keys":               {"[play]\n" + playDoor, "Play Console"},
		"play with one key":               {"[play]\ndecryption = \"s\"\n" + playDoor, "decryption and verification"},
		"play without apps":               {"[play]\ndecryption = \"s\"\nverification = \"p256\"\n", "which apps"},
		"play with a short key":           {"[play]\ndecryption = \"short\"\nverification = \"p256\"\n" + playDoor, "32 bytes"},
		"play with a key that is no text": {"[play]\ndecryption = \"status.json\"\nverification = \"p256\"\n" + playDoor, "decryption: not base64"},
		"play without a key's file":       {"[play]\ndecryption = \"none\"\nverification = \"p256\"\n" + playDoor, "no such file"},
		"play with a key on P-384":        {"[play]\ndecryption = \"s\"\nverification = \"p384\"\n" + playDoor, "P-256"},
		"play with a certificate":         {"[play]\ndecryption = \"s\"\nverification = \"leaf.pem\"\n" + playDoor, "P-256"},
		"play with its secret key twice":  {"[play]\ndecryption = \"s\"\nverification = \"s\"\n" + playDoor, "P-256"},
		"play without a public key":       {"[play]\ndecryption = \"s\"\nverification = \"none\"\n" + playDoor, "no such file"},
		"play with old verdicts":          {"[play]\ndecryption = \"s\"\nverification = \"p256\"\nmax_age = \"6m\"\n" + playDoor, "at most 5m"},
		"play with a strange key":         {"[play]\ndecryption = \"s\"\nverification = \"p256\"\nroots = \"root.pem\"\n" + playDoor, "play.roots is not known"},
		"play with a short digest":        {"[play]\ndecryption = \"s\"\nverification = \"p256\"\n[[play.app]]\npackage = \"a\"\ndigests = [\"AB\"]\n", "SHA-256"},
		"the reference attester, for all": {"[attester.a]\nkeys = \"k.jwks\"\nkind = \"development\"\n", "proves nothing"},
	} {
		if _, err := trust.Load(folder(t, tt.text, files), trust.Options{}); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: got %v, want %q", name, err, tt.says)
		}
	}
	path := folder(t, "[attester.a]\nsecret = \"s\"\nsymmetric = true\n", files)
	if err := os.Chmod(filepath.Join(filepath.Dir(path), "s"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := trust.Load(path, trust.Options{}); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a secret that others can read: %v", err)
	}
	path = folder(t, "[play]\ndecryption = \"s\"\nverification = \"p256\"\n"+playDoor, files)
	if err := os.Chmod(filepath.Join(filepath.Dir(path), "s"), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := trust.Load(path, trust.Options{}); err == nil || !strings.Contains(err.Error(), "chmod 600") || strings.Contains(err.Error(), secret) {
		t.Errorf("a decryption key that others can read: %v", err)
	}
	if _, err := trust.Load(filepath.Join(t.TempDir(), "none"), trust.Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// certificate is one that signed itself, in PEM.
func certificate(t *testing.T, authority bool) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: authority, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestApple(t *testing.T) {
	files := map[string]string{"root.pem": certificate(t, true) + certificate(t, true)}
	all, err := trust.Load(folder(t, "[apple]\nroots = \"root.pem\"\napps = [\"T.app\"]\n", files), trust.Options{})
	if err != nil || !all.Platforms.Any() {
		t.Fatalf("%+v, %v", all, err)
	}
	if v := all.Platforms.Apple; v.Development || len(v.Apps) != 1 || v.Apps[0] != "T.app" || v.Roots == nil {
		t.Errorf("%+v", v)
	}
}

const androidDoor = "[[android.app]]\npackage = \"com.example.door\"\ndigests = [\"AA:BBCCDDEEFF00112233445566778899AABBCCDDEEFF00112233445566778899\"]\n"

// TestAndroid: the list of revoked certificates is read anew when it changes, and a broken one does not take the last one's place.
func TestAndroid(t *testing.T) {
	now := time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC)
	path := folder(t, "degraded = true\n[android]\nroots = \"root.pem\"\nrevoked = \"status.json\"\nmax_patch_age = \"4380h\"\n"+androidDoor,
		map[string]string{"root.pem": certificate(t, true), "status.json": `{"entries":{}}`})
	all, err := trust.Load(path, trust.Options{Now: func() time.Time { return now }})
	if err != nil || !all.Platforms.Any() || !all.Platforms.Degraded {
		t.Fatalf("%+v, %v", all, err)
	}
	v := all.Platforms.Android()
	if len(v.Roots) != 1 || v.MaxPatchAge != 4380*time.Hour || v.AllowExpired || v.AllowSoftware || len(v.Apps) != 1 || v.Apps[0].Package != "com.example.door" || v.Revoked.Len() != 0 {
		t.Errorf("%+v", v)
	}
	list := filepath.Join(filepath.Dir(path), "status.json")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		now = now.Add(trust.FreshFile)
		if err := os.Chtimes(list, now, now); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"entries":{"abc":{"status":"REVOKED"}}}`)
	if got := all.Platforms.Android().Revoked.Len(); got != 1 {
		t.Errorf("a new list: %d entries", got)
	}
	write(`{"entries":`)
	if got := all.Platforms.Android().Revoked.Len(); got != 1 {
		t.Errorf("a broken list: %d entries", got)
	}
}

const playDoor = "[[play.app]]\npackage = \"com.example.door\"\ndigests = [\"AA:BBCCDDEEFF00112233445566778899AABBCCDDEEFF00112233445566778899\"]\n"

// publicKey is a fresh one as the Play Console gives it.
func publicKey(t *testing.T, curve elliptic.Curve) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der) + "\n"
}

// TestPlay: the public key may stand in either form.
func TestPlay(t *testing.T) {
	key := publicKey(t, elliptic.P256())
	der, err := base64.StdEncoding.DecodeString(strings.TrimSpace(key))
	if err != nil {
		t.Fatal(err)
	}
	secret := make([]byte, 32)
	secret[0] = 7
	files := map[string]string{
		"decryption": base64.StdEncoding.EncodeToString(secret) + "\n", "der": key, "pem": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
	}
	for _, form := range []string{"der", "pem"} {
		text := "[play]\ndecryption = \"decryption\"\nverification = \"" + form + "\"\nmax_age = \"1m\"\ntesting = true\n" + playDoor
		all, err := trust.Load(folder(t, text, files), trust.Options{})
		if err != nil || !all.Platforms.Any() || all.Platforms.Degraded {
			t.Fatalf("%s: %+v, %v", form, all, err)
		}
		v := all.Platforms.Play
		public, err := x509.MarshalPKIXPublicKey(v.Verification)
		if err != nil || !bytes.Equal(public, der) || !bytes.Equal(v.Decryption, secret) || v.MaxAge != time.Minute || !v.Testing {
			t.Errorf("%s: %+v, %v", form, v, err)
		}
		if len(v.Apps) != 1 || v.Apps[0].Package != "com.example.door" || len(v.Apps[0].Digests) != 1 || v.Apps[0].Digests[0][0] != 0xaa {
			t.Errorf("%s: %+v", form, v.Apps)
		}
	}
}

// service is an attester's web site.
type service struct {
	body  atomic.Pointer[[]byte] // nil: broken
	asked atomic.Int32
}

func (s *service) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	s.asked.Add(1)
	body := s.body.Load()
	if body == nil {
		http.Error(w, "broken", http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(*body) // the reader may have gone
}

func (s *service) publish(body []byte) { s.body.Store(&body) }

// TestAway: keys are asked for when they are needed, at a pace; an attester that is away counts for an hour, and one that never
// answered is an error that says to come back.
func TestAway(t *testing.T) {
	site := &service{}
	at := httptest.NewServer(site)
	defer at.Close()
	now := time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC)
	path := folder(t, "[attester.a]\nkeys = \""+at.URL+"/jwks\"\n", nil)
	all, err := trust.Load(path, trust.Options{Now: func() time.Time { return now }})
	if err != nil || site.asked.Load() != 0 {
		t.Fatalf("asked %d times: %v", site.asked.Load(), err)
	}
	find := func(kid string) error { _, err := all.Attesters["a"].Keys(kid); return err }
	if err := find("k1"); !errors.Is(err, authz.ErrUnavailable) || !strings.Contains(err.Error(), "attester a") {
		t.Errorf("away from the start: %v", err)
	}
	site.publish(set(t, "k1"))
	for range 100 {
		if err := find("k1"); !errors.Is(err, authz.ErrUnavailable) {
			t.Errorf("within the pause: %v", err)
		}
	}
	if site.asked.Load() != 1 {
		t.Errorf("asked %d times, want 1", site.asked.Load())
	}
	now = now.Add(trust.PauseAway)
	if err := find("k1"); err != nil {
		t.Errorf("back: %v", err)
	}
	asked := site.asked.Load()
	if err := find("k1"); err != nil || site.asked.Load() != asked {
		t.Errorf("asked again for what is there: %v", err)
	}
	now = now.Add(trust.Pause)
	site.publish(set(t, "k1", "k2"))
	if err := find("k2"); err != nil {
		t.Errorf("a key that was added: %v", err)
	}
	now = now.Add(trust.Pause)
	if err := find("k3"); !errors.Is(err, jose.ErrUnknownKey) {
		t.Errorf("a key that is not there: %v", err)
	}
	site.publish(set(t, "k2"))
	now = now.Add(trust.FreshURL)
	if err := find("k1"); !errors.Is(err, jose.ErrUnknownKey) {
		t.Errorf("a key that was taken away: %v", err)
	}
	site.body.Store(nil)
	now = now.Add(trust.MaxStale)
	if err := find("k2"); err != nil {
		t.Errorf("away for an hour: %v", err)
	}
	if err := find("k4"); !errors.Is(err, authz.ErrUnavailable) {
		t.Errorf("another key meanwhile: %v", err)
	}
	now = now.Add(time.Second)
	if err := find("k2"); !errors.Is(err, authz.ErrUnavailable) {
		t.Errorf("away for longer: %v", err)
	}
	for name, body := range map[string][]byte{"garbage": []byte("garbage"), "a private key": []byte(`{"keys":[{"kty":"oct","k":"AAAA"}]}`), "too long": make([]byte, jose.MaxSet+1)} {
		site.publish(body)
		now = now.Add(trust.PauseAway)
		if err := find("k2"); !errors.Is(err, authz.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSlowAttester: while an attester takes its time, who asks for a key that is known waits for nobody, and all others for one answer.
func TestSlowAttester(t *testing.T) {
	keys, slow := set(t, "k1"), make(chan struct{})
	var asked atomic.Int32
	at := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) > 1 {
			<-slow
		}
		_, _ = w.Write(keys)
	}))
	defer at.Close()
	var now atomic.Int64
	now.Store(time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC).UnixNano())
	all, err := trust.Load(folder(t, "[attester.a]\nkeys = \""+at.URL+"\"\n", nil), trust.Options{Now: func() time.Time { return time.Unix(0, now.Load()) }})
	if err != nil {
		t.Fatal(err)
	}
	find := all.Attesters["a"].Keys
	if _, err := find("k1"); err != nil {
		t.Fatal(err)
	}
	now.Add(int64(trust.Pause))
	var waiting sync.WaitGroup
	for range 20 {
		waiting.Go(func() {
			if _, err := find("k2"); !errors.Is(err, jose.ErrUnknownKey) {
				t.Errorf("a key that is not there: %v", err)
			}
		})
	}
	for asked.Load() < 2 {
		runtime.Gosched()
	}
	if _, err := find("k1"); err != nil {
		t.Errorf("a key that is known: %v", err)
	}
	close(slow)
	waiting.Wait()
	if asked.Load() != 2 {
		t.Errorf("asked %d times, want 2", asked.Load())
	}
}

// TestNoRedirect: what an attester's site sends readers to is not the attester.
func TestNoRedirect(t *testing.T) {
	keys := set(t, "k1")
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(keys) }))
	defer elsewhere.Close()
	at := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusFound))
	defer at.Close()
	all, err := trust.Load(folder(t, "[attester.a]\nkeys = \""+at.URL+"\"\n", nil), trust.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := all.Attesters["a"].Keys("k1"); !errors.Is(err, authz.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}
