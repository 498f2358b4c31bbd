// Package reference is an attestation service for development and tests. It proves nothing: an app that keeps a copy of the genuine
// one can answer for it, because nobody but the app itself measures the app. A server takes its word only if its issuer is on this
// machine (authz/attest/trust).
//
// It shows how such a service works. It holds each app as it was published, asks an instance for a digest of all of itself, in an
// order that nobody could know before, and for a proof of its key, and then vouches for that instance and key for a few minutes:
//
//	POST /challenge   {"app"}                                            → {"challenge", "offset"}
//	POST /attest      {"app", "challenge", "content", "signature", "jwk", "proof", ?"form", ?"pay", ?"for", ?"audience"}
//	                                                                     → {"attestation"} or {"integrity_token"}, and "expires_in"
//	GET  /jwks        its public key
//
// content is the base64url SHA-256 of the challenge and the app's bytes from offset to the end and then from the beginning; signature
// that of the challenge and its maker's signature; proof a JWT as pop/attestation makes, with the challenge. Start from New.
package reference

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/latchkey-ace/latchkey/authz/attest"
	"github.com/latchkey-ace/latchkey/pop/attestation"
	"github.com/latchkey-ace/latchkey/pop/integrity"
	"github.com/latchkey-ace/latchkey/pop/jose"
)

// Bounds, each with its reason.
const (
	Life          = 5 * time.Minute  // of what it signs
	challengeLife = 30 * time.Second // an app measures itself in less than a second
	maxChallenges = 1024             // that wait; the oldest goes
	maxBody       = 16 << 10         // bytes of a request
)

// App is an app as it was published.
type App struct {
	Client    string // its client_id
	Content   []byte // what is measured
	Signature []byte // its maker's, so that an app that was signed again is another one
	// Means is what is said of its instances, for tests of policies. Kind is always Development.
	Means attest.Verdict
}

// Options of an Attester; Issuer, Key and Apps are required.
type Options struct {
	Issuer string
	Key    jose.Signer
	Apps   map[string]App // by name
	Now    func() time.Time
	Log    *slog.Logger
}

// Attester is an http.Handler.
type Attester struct {
	o       Options
	mux     *http.ServeMux
	mu      sync.Mutex
	waiting map[string]waiting // by challenge
	order   []string
}

// waiting is a challenge that was given out.
type waiting struct {
	app    string
	offset int
	until  time.Time
}

// New makes an Attester.
func New(o Options) *Attester {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	a := &Attester{o: o, mux: http.NewServeMux(), waiting: map[string]waiting{}}
	a.mux.HandleFunc("POST /challenge", a.challenge)
	a.mux.HandleFunc("POST /attest", a.attest)
	a.mux.HandleFunc("GET /jwks", a.jwks)
	return a
}

// ServeHTTP answers apps, and servers that ask for the public key.
func (a *Attester) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.mux.ServeHTTP(w, r) }

func (a *Attester) challenge(w http.ResponseWriter, r *http.Request) {
	var in struct {
		App string `json:"app"`
	}
	if !read(w, r, &in) {
		return
	}
	app, known := a.o.Apps[in.App]
	if !known {
		a.refuse(w, in.App, errors.New("no such app"))
		return
	}
	var seed [36]byte
	_, _ = rand.Read(seed[:]) // never fails
	challenge := base64.RawURLEncoding.EncodeToString(seed[:32])
	offset := 0
	if len(app.Content) > 0 {
		offset = int(uint32(seed[32])<<16|uint32(seed[33])<<8|uint32(seed[34])) % len(app.Content)
	}
	a.keep(challenge, waiting{in.App, offset, a.o.Now().Add(challengeLife)})
	write(w, map[string]any{"challenge": challenge, "offset": offset})
}

func (a *Attester) keep(challenge string, w waiting) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.order) == maxChallenges {
		delete(a.waiting, a.order[0])
		a.order = a.order[1:]
	}
	a.waiting[challenge], a.order = w, append(a.order, challenge)
}

// take spends a challenge, whatever comes of it.
func (a *Attester) take(challenge, app string) (waiting, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	w, there := a.waiting[challenge]
	delete(a.waiting, challenge)
	if !there || w.app != app || !a.o.Now().Before(w.until) {
		return w, errors.New("the challenge was not given out for this app, was answered before, or is too old")
	}
	return w, nil
}

// Statement is what an instance says of itself.
type Statement struct {
	App       string          `json:"app"`
	Challenge string          `json:"challenge"`
	Content   string          `json:"content"`
	Signature string          `json:"signature"`
	Key       json.RawMessage `json:"jwk"`
	Proof     string          `json:"proof"`
	Form      string          `json:"form,omitempty"` // "" for an attestation, FormIntegrity
	Payload   string          `json:"pay,omitempty"`  // base64url SHA-256: what an integrity token is bound to
	Answers   string          `json:"for,omitempty"`  // the challenge that an integrity token answers
	Audience  string          `json:"audience,omitempty"`
}

// FormIntegrity asks for an integrity token; without a payload or challenge it is bound to the key.
const FormIntegrity = "integrity"

func (a *Attester) attest(w http.ResponseWriter, r *http.Request) {
	var in Statement
	if !read(w, r, &in) {
		return
	}
	key, err := a.judge(&in)
	if err != nil {
		a.refuse(w, in.App, err)
		return
	}
	member, token, err := "attestation", "", error(nil)
	if in.Form == FormIntegrity {
		member = "integrity_token"
		token, err = a.integrity(&in, key)
	} else {
		token, err = a.vouch(&in, key)
	}
	if err != nil {
		a.refuse(w, in.App, err)
		return
	}
	write(w, map[string]any{member: token, "expires_in": int(Life / time.Second)})
}

// judge finds what is wrong with an instance; the challenge is spent first, so that each gets one try.
func (a *Attester) judge(in *Statement) (*jose.Key, error) {
	given, err := a.take(in.Challenge, in.App)
	if err != nil {
		return nil, err
	}
	app := a.o.Apps[in.App]
	key, err := jose.ParseKey(in.Key)
	if err != nil {
		return nil, fmt.Errorf("jwk: %w", err)
	}
	expect := attestation.ExpectProof{Key: key, Audience: a.o.Issuer, Now: a.o.Now(), Challenge: func(c string) bool { return c == in.Challenge }}
	if _, err := attestation.VerifyProof(in.Proof, expect); err != nil {
		return nil, err
	}
	switch {
	case !same(in.Signature, Digest(in.Challenge, app.Signature, 0)):
		return nil, errors.New("the app is signed by somebody else")
	case !same(in.Content, Digest(in.Challenge, app.Content, given.offset)):
		return nil, errors.New("the app was changed")
	}
	return key, nil
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// Digest is what an instance answers for what it holds, read from offset on and then from the beginning.
func Digest(challenge string, content []byte, offset int) string {
	h := sha256.New()
	_, _ = io.WriteString(h, challenge) // never fails, as below
	if offset < 0 || offset > len(content) {
		offset = 0
	}
	_, _ = h.Write(content[offset:])
	_, _ = h.Write(content[:offset])
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

func (a *Attester) verdict(app string) json.RawMessage {
	v := a.o.Apps[app].Means
	v.Kind, v.App, v.At = attest.Development, app, a.o.Now().UTC().Truncate(time.Second)
	raw, err := json.Marshal(v)
	if err != nil {
		return nil // a verdict always has its words
	}
	return raw
}

func (a *Attester) vouch(in *Statement, key *jose.Key) (string, error) {
	now := a.o.Now()
	return attestation.Make(&attestation.Attestation{
		Attester: a.o.Issuer, Client: a.o.Apps[in.App].Client, Key: key, IssuedAt: now, Expires: now.Add(Life), Verdict: a.verdict(in.App),
	}, a.o.Key)
}

func (a *Attester) integrity(in *Statement, key *jose.Key) (token string, err error) {
	now := a.o.Now()
	t := &integrity.Token{
		Attester: a.o.Issuer, Subject: a.o.Apps[in.App].Client, IssuedAt: now, Expires: now.Add(Life), Challenge: in.Answers, Verdict: a.verdict(in.App),
	}
	if in.Audience != "" {
		t.Audience = []string{in.Audience}
	}
	if in.Payload != "" {
		if t.Payload, err = base64.RawURLEncoding.Strict().DecodeString(in.Payload); err != nil || len(t.Payload) != sha256.Size {
			return "", errors.New("pay is no SHA-256 in base64url")
		}
	}
	if t.Payload == nil && t.Challenge == "" {
		t.Key = key
	}
	return integrity.Make(t, a.o.Key)
}

func (a *Attester) jwks(w http.ResponseWriter, _ *http.Request) {
	key, err := jose.NewKey(a.o.Key.Key.Public(), a.o.Key.ID)
	if err != nil {
		http.Error(w, "no key", http.StatusInternalServerError)
		return
	}
	set, err := jose.NewSet(key)
	if err != nil {
		http.Error(w, "no key", http.StatusInternalServerError)
		return
	}
	text, err := set.Encode()
	if err != nil {
		http.Error(w, "no key", http.StatusInternalServerError)
		return
	}
	write(w, text)
}

// refuse tells a developer what was wrong; a real service would not.
func (a *Attester) refuse(w http.ResponseWriter, app string, err error) {
	a.o.Log.Warn("not vouched for", "app", fmt.Sprintf("%.64q", app), "why", err)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusForbidden)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": err.Error()}) // the app may have gone
}

func read(w http.ResponseWriter, r *http.Request, in any) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(in); err != nil || d.More() {
		http.Error(w, `{"error":"send one JSON object"}`, http.StatusBadRequest)
		return false
	}
	return true
}

func write(w http.ResponseWriter, answer any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(answer) // the app may have gone
}
