package reference_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz/attest"
	"github.com/latchkey-ace/latchkey/authz/attest/reference"
	"github.com/latchkey-ace/latchkey/pop/attestation"
	"github.com/latchkey-ace/latchkey/pop/integrity"
	"github.com/latchkey-ace/latchkey/pop/jose"
)

// world is an attester with one app, on loopback.
type world struct {
	t       *testing.T
	url     string
	key     *ecdsa.PrivateKey
	program string // the genuine app's
	mu      sync.Mutex
	ahead   time.Duration
	seen    [][]byte // what apps sent to /attest
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, key: newKey(t), program: filepath.Join(t.TempDir(), "app")}
	content, signature := bytes.Repeat([]byte("the genuine app "), 1000), []byte("signed by its maker")
	for path, text := range map[string][]byte{w.program: content, w.program + reference.SignatureSuffix: signature} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	site := httptest.NewUnstartedServer(nil)
	w.url = "http://" + site.Listener.Addr().String()
	a := reference.New(reference.Options{
		Issuer: w.url, Key: jose.Signer{Key: w.key, ID: "1"}, Now: w.now,
		Apps: map[string]reference.App{"app": {Client: "phone", Content: content, Signature: signature, Means: attest.Verdict{Key: attest.KeyHardware}}},
	})
	site.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/attest" {
			w.mu.Lock()
			w.seen = append(w.seen, body)
			w.mu.Unlock()
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		a.ServeHTTP(rw, r)
	})
	site.Start()
	t.Cleanup(site.Close)
	return w
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.ahead)
}

func (w *world) instance(program string) *reference.Instance {
	return &reference.Instance{Attester: w.url, App: "app", Program: program, Key: newKey(w.t), HTTP: http.DefaultClient}
}

func (w *world) finder() jose.Finder {
	k, err := jose.NewKey(w.key.Public(), "1")
	if err != nil {
		w.t.Fatal(err)
	}
	return jose.Only(k)
}

// TestGenuine: the genuine app is vouched for, with its key, for five minutes, and it says that this is for development.
func TestGenuine(t *testing.T) {
	w := newWorld(t)
	i := w.instance(w.program)
	token, err := i.Attest(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	a, err := attestation.Verify(token, attestation.Expect{Keys: w.finder(), Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	public, err := jose.NewKey(i.Key.Public(), "")
	if err != nil {
		t.Fatal(err)
	}
	var v attest.Verdict
	if err := json.Unmarshal(a.Verdict, &v); err != nil {
		t.Fatal(err)
	}
	if a.Client != "phone" || a.Attester != w.url || !a.Key.Equal(public) || time.Until(a.Expires) > reference.Life || v.Kind != attest.Development || v.App != "app" || v.Key != attest.KeyHardware {
		t.Errorf("%+v %v", a, v)
	}
	for name, want := range map[string]reference.Statement{
		"bound to the key": {}, "bound to a payload": {Payload: "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"}, "in answer to a challenge": {Answers: "echo", Audience: "door"},
	} {
		token, err := i.Integrity(t.Context(), want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := integrity.Verify(token, integrity.Expect{Keys: w.finder(), Now: time.Now()})
		if err != nil || (got.Payload != nil) != (want.Payload != "") || got.Challenge != want.Answers || (got.Key != nil) != (want.Payload == "" && want.Answers == "") {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// TestNotGenuine: a changed app, one that was signed again, an unknown one, and one that answers for another key or twice.
func TestNotGenuine(t *testing.T) {
	w := newWorld(t)
	genuine, err := os.ReadFile(w.program)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, content, signature []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if signature != nil {
			if err := os.WriteFile(path+reference.SignatureSuffix, signature, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return path
	}
	one := bytes.Clone(genuine)
	one[len(one)/2] ^= 1
	for name, tt := range map[string]struct{ program, says string }{
		"one bit changed":   {write("bit", one, []byte("signed by its maker")), "was changed"},
		"a byte more":       {write("more", append(bytes.Clone(genuine), 0), []byte("signed by its maker")), "was changed"},
		"a byte less":       {write("less", genuine[1:], []byte("signed by its maker")), "was changed"},
		"signed again":      {write("resigned", genuine, []byte("signed by a thief")), "signed by somebody else"},
		"without signature": {write("unsigned", genuine, nil), "signed by somebody else"},
	} {
		if _, err := w.instance(tt.program).Attest(t.Context()); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: got %v, want %q", name, err, tt.says)
		}
	}
	unknown := w.instance(w.program)
	unknown.App = "other"
	if _, err := unknown.Attest(t.Context()); err == nil || !strings.Contains(err.Error(), "no such app") {
		t.Errorf("unknown: %v", err)
	}

	if _, err := w.instance(w.program).Attest(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	said := w.seen[len(w.seen)-1]
	w.mu.Unlock()
	if got := w.post("/attest", said); !strings.Contains(got, "answered before") {
		t.Errorf("played again: %s", got)
	}
}

func (w *world) post(path string, body []byte) string {
	w.t.Helper()
	response, err := http.Post(w.url+path, "application/json", bytes.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// statement has an instance say what it is, without the attester hearing it.
func (w *world) statement() map[string]any {
	w.t.Helper()
	i := w.instance(w.program)
	// The attester is asked for the challenge, and the answer is caught on its way.
	catch := *i
	catch.HTTP = &http.Client{Transport: catcher{w}}
	_, _ = catch.Attest(w.t.Context())
	w.mu.Lock()
	defer w.mu.Unlock()
	var s map[string]any
	if err := json.Unmarshal(w.seen[len(w.seen)-1], &s); err != nil {
		w.t.Fatal(err)
	}
	return s
}

type catcher struct{ w *world }

func (c catcher) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path != "/attest" {
		return http.DefaultTransport.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	c.w.mu.Lock()
	c.w.seen = append(c.w.seen, body)
	c.w.mu.Unlock()
	return nil, io.ErrUnexpectedEOF
}

// TestStatements: a statement is good once, for half a minute, and for the key that it proves.
func TestStatements(t *testing.T) {
	w := newWorld(t)
	say := func(s map[string]any) string {
		body, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return w.post("/attest", body)
	}
	if got := say(w.statement()); !strings.Contains(got, `"attestation"`) {
		t.Fatalf("a good one: %s", got)
	}
	other, err := jose.NewKey(newKey(t).Public(), "")
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := other.JWK()
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change func(map[string]any)
		says   string
	}{
		"another key":          {func(s map[string]any) { s["jwk"] = jwk }, "proof"},
		"no key":               {func(s map[string]any) { delete(s, "jwk") }, "jwk"},
		"no proof":             {func(s map[string]any) { delete(s, "proof") }, "proof"},
		"another challenge":    {func(s map[string]any) { s["challenge"] = "x" }, "challenge"},
		"another app":          {func(s map[string]any) { s["app"] = "other" }, "challenge"},
		"another digest":       {func(s map[string]any) { s["content"] = s["signature"] }, "was changed"},
		"a member that is new": {func(s map[string]any) { s["more"] = 1 }, "one JSON object"},
		"a broken payload":     {func(s map[string]any) { s["form"], s["pay"] = "integrity", "AA" }, "pay"},
	} {
		s := w.statement()
		tt.change(s)
		if got := say(s); !strings.Contains(got, tt.says) || strings.Contains(got, `"attestation"`) || strings.Contains(got, "integrity_token") {
			t.Errorf("%s: got %s, want %q", name, got, tt.says)
		}
	}
	s := w.statement()
	w.mu.Lock()
	w.ahead = 31 * time.Second
	w.mu.Unlock()
	if got := say(s); !strings.Contains(got, "too old") {
		t.Errorf("late: %s", got)
	}
}
