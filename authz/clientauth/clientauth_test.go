package clientauth_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/clientauth"
	"github.com/latchkey-ace/latchkey/pop/ace"
)

// TestSecrets: unknown client, wrong method, wrong secret and suspended client are one answer.
func TestSecrets(t *testing.T) {
	w := newWorld(t)
	value, hash, err := authz.Secret(rand.Reader)
	w.must(err)
	w.client(authz.Client{ID: "phone", AuthMethod: authz.AuthNone})
	w.client(authz.Client{ID: "gateway", AuthMethod: authz.AuthSecretBasic, SecretHash: hash})
	w.client(authz.Client{ID: "poster", AuthMethod: authz.AuthSecretPost, SecretHash: hash})
	w.client(authz.Client{ID: "hub", AuthMethod: authz.AuthOSCORE, SecretHash: hash})
	w.client(authz.Client{ID: "signer", AuthMethod: authz.AuthPrivateKey, SecretHash: hash, Keys: w.set("k")})
	w.client(authz.Client{ID: "meter", AuthMethod: authz.AuthSelfSigned, SecretHash: hash})
	w.client(authz.Client{ID: "bare", AuthMethod: authz.AuthSecretBasic}) // no secret on record
	w.client(authz.Client{ID: "gone", AuthMethod: authz.AuthSecretBasic, SecretHash: hash})
	w.must(w.store.SuspendClient(t.Context(), "gone", evening))
	w.client(authz.Client{ID: "lost", AuthMethod: authz.AuthNone})
	w.must(w.store.SuspendClient(t.Context(), "lost", evening))
	tests := []struct {
		name, id, secret string
		basic, ok        bool
	}{
		{"a public client", "phone", "", false, true},
		{"the secret in the header", "gateway", value, true, true},
		{"the secret in the body", "gateway", value, false, true},
		{"one registered for the body in the header", "poster", value, true, true},
		{"an unknown client", "nobody", "", false, false},
		{"an unknown client with a secret", "nobody", value, true, false},
		{"no client", "", "", false, false},
		{"no secret", "gateway", "", false, false},
		{"an empty secret", "gateway", "", true, false},
		{"a secret cut short", "gateway", value[:42], true, false},
		{"a secret with one more letter", "gateway", value + "A", false, false},
		{"a secret of a public client", "phone", value, true, false},
		{"an empty secret of a public client", "phone", "", true, false},
		{"a secret where none is on record", "bare", "", true, false},
		{"a CoAP client over HTTP", "hub", "", false, false},
		{"a CoAP client with a secret", "hub", value, true, false},
		{"a client that signs, with a secret", "signer", value, true, false},
		{"a client that signs, with nothing", "signer", "", false, false},
		{"a client with a certificate, with a secret", "meter", value, false, false},
		{"a client with a certificate, without", "meter", "", false, false},
		{"an id in another case", "Gateway", value, true, false},
		{"a suspended client", "gone", value, true, false},
		{"a suspended public client", "lost", "", false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w.t = t
			p := clientauth.Presented{ClientID: tt.id, Secret: tt.secret, Basic: tt.basic}
			if tt.ok {
				w.good(p, tt.id)
				return
			}
			w.bad(p, tt.id)
		})
	}
}

// TestOneCredential: RFC 6749 §2.3, more than one method in a request.
func TestOneCredential(t *testing.T) {
	w := newWorld(t)
	w.client(authz.Client{ID: "signer", AuthMethod: authz.AuthPrivateKey, Keys: w.set("k")})
	assertion := w.sign("k", claims("signer"))
	for name, p := range map[string]clientauth.Presented{
		"secret and assertion":       {ClientID: "signer", Secret: "s", AssertionType: clientauth.AssertionType, Assertion: assertion},
		"header and assertion":       {ClientID: "signer", Basic: true, AssertionType: clientauth.AssertionType, Assertion: assertion},
		"secret and assertion type":  {ClientID: "signer", Secret: "s", AssertionType: clientauth.AssertionType},
		"an assertion without type":  {ClientID: "signer", Assertion: assertion},
		"a type without assertion":   {ClientID: "signer", AssertionType: clientauth.AssertionType},
		"an assertion of SAML":       {ClientID: "signer", AssertionType: "urn:ietf:params:oauth:client-assertion-type:saml2-bearer", Assertion: assertion},
		"a type with a capital more": {ClientID: "signer", AssertionType: strings.ToUpper(clientauth.AssertionType), Assertion: assertion},
	} {
		_, uses, err := w.authenticate(p)
		if !errors.Is(err, &ace.Error{Code: ace.InvalidRequest}) || uses != nil {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// away is a directory that cannot be reached.
type away struct{}

func (away) Client(context.Context, string) (authz.Client, error) {
	return authz.Client{}, fmt.Errorf("clients: %w", authz.ErrUnavailable)
}

// TestDirectoryAway: that nobody can be asked is no refusal.
func TestDirectoryAway(t *testing.T) {
	heard := 0
	a := clientauth.New(away{}, clientauth.Options{Refused: func(context.Context, string, string) { heard++ }})
	_, err := a.Authenticate(t.Context(), clientauth.Presented{ClientID: "phone"})
	if !errors.Is(err, authz.ErrUnavailable) || errors.As(err, new(*ace.Error)) || heard != 0 {
		t.Errorf("got %v, %d refusals", err, heard)
	}
}

// TestNothingPrints: what is presented stands in no log and no error.
func TestNothingPrints(t *testing.T) {
	w := newWorld(t)
	p := clientauth.Presented{ClientID: "x", Secret: "s3cret-s3cret", Assertion: "eyJh.eyJp.c2ln"}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("m", "p", p)
	all := fmt.Sprintf("%v %+v %#v %s", p, p, p, &p) + log.String()
	for _, bad := range []clientauth.Presented{{ClientID: "x", Secret: "s3cret-s3cret"}, by("x", "eyJh.eyJp.c2ln"), p} {
		_, _, err := w.authenticate(bad)
		all += err.Error()
	}
	if strings.Contains(all, "s3cret") || strings.Contains(all, "eyJ") {
		t.Errorf("a credential prints: %s", all)
	}
}

// TestCheck: who registers a client is told what it lacks.
func TestCheck(t *testing.T) {
	w := newWorld(t)
	cert := w.certificate("self", template("self"), nil)
	names := authz.ClientSettings{TLSSANDNS: "a.example"}
	for name, tt := range map[string]struct {
		client authz.Client
		want   string // "" good
	}{
		"a public client":             {authz.Client{AuthMethod: authz.AuthNone}, ""},
		"a key":                       {authz.Client{AuthMethod: authz.AuthPrivateKey, Keys: w.set("a", "ed25519")}, ""},
		"no keys":                     {authz.Client{AuthMethod: authz.AuthPrivateKey}, "needs a JWK Set"},
		"an empty set":                {authz.Client{AuthMethod: authz.AuthPrivateKey, Keys: `{"keys":[]}`}, "needs a JWK Set"},
		"two keys without a kid":      {authz.Client{AuthMethod: authz.AuthPrivateKey, Keys: strings.NewReplacer(`"kid":"a",`, "", `"kid":"b",`, "").Replace(w.set("a", "b"))}, "kid"},
		"a private key":               {authz.Client{AuthMethod: authz.AuthPrivateKey, Keys: `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"h6yaF46xbu-Y87f3i4B1W5XJbUdM2c2Sd5-l6itk9dE","d":"h6yaF46xbu-Y87f3i4B1W5XJbUdM2c2Sd5-l6itk9dE"}]}`}, "secret"},
		"keys of a public client":     {authz.Client{AuthMethod: authz.AuthNone, Keys: w.set("a")}, "private_key_jwt"},
		"one name":                    {authz.Client{AuthMethod: authz.AuthTLS, Settings: names}, ""},
		"no name":                     {authz.Client{AuthMethod: authz.AuthTLS}, "exactly one"},
		"two names":                   {authz.Client{AuthMethod: authz.AuthTLS, Settings: authz.ClientSettings{TLSSANDNS: "a", TLSSubject: "CN=a"}}, "exactly one"},
		"a name without TLS":          {authz.Client{AuthMethod: authz.AuthPrivateKey, Keys: w.set("a"), Settings: names}, "tls_client_auth"},
		"a certificate":               {authz.Client{AuthMethod: authz.AuthSelfSigned, Keys: chain(cert)}, ""},
		"a set without a certificate": {authz.Client{AuthMethod: authz.AuthSelfSigned, Keys: w.set("a")}, "x5c"},
		"x5c that is none":            {authz.Client{AuthMethod: authz.AuthSelfSigned, Keys: `{"keys":[{"x5c":["AAAA"]}]}`}, "no certificate"},
		"x5c in base64url":            {authz.Client{AuthMethod: authz.AuthSelfSigned, Keys: `{"keys":[{"x5c":["__-_"]}]}`}, "base64"},
		"two bindings":                {authz.Client{AuthMethod: authz.AuthNone, Settings: authz.ClientSettings{DPoPBound: true, TLSBound: true}}, "one thing"},
		"an app with an attester":     {authz.Client{AuthMethod: authz.AuthAttested, Settings: authz.ClientSettings{Attesters: []string{"acme"}, Apps: []string{"door"}}}, ""},
		"integrity tokens":            {authz.Client{AuthMethod: authz.AuthIntegrity, Settings: authz.ClientSettings{Attesters: []string{"acme"}}}, ""},
		"an app that nobody knows":    {authz.Client{AuthMethod: authz.AuthAttestedDPoP}, "somebody who vouches"},
		"an attester for no app":      {authz.Client{AuthMethod: authz.AuthNone, Settings: authz.ClientSettings{Attesters: []string{"acme"}}}, "somebody who vouches"},
		"an app's name for no app":    {authz.Client{AuthMethod: authz.AuthNone, Settings: authz.ClientSettings{Apps: []string{"door"}}}, "goes with somebody"},
		"keys of an attested app":     {authz.Client{AuthMethod: authz.AuthAttested, Keys: w.set("a"), Settings: authz.ClientSettings{Attesters: []string{"acme"}}}, "private_key_jwt"},
		"bound and free":              {authz.Client{AuthMethod: authz.AuthNone, Settings: authz.ClientSettings{DPoPBound: true, Bearer: true}}, "bearer"},
	} {
		err := clientauth.Check(&tt.client)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	w := newWorld(b)
	w.client(authz.Client{ID: "signer", AuthMethod: authz.AuthPrivateKey, Keys: w.set("k")})
	a, p := clientauth.New(w.store, w.options), by("signer", w.sign("k", claims("signer")))
	b.Run("private_key_jwt", func(b *testing.B) {
		for b.Loop() {
			if _, err := a.Authenticate(b.Context(), p); err != nil {
				b.Fatal(err)
			}
		}
	})
	unknown := by("nobody", w.sign("k", claims("nobody")))
	b.Run("unknown client", func(b *testing.B) {
		for b.Loop() {
			if _, err := a.Authenticate(b.Context(), unknown); err == nil {
				b.Fatal("let in")
			}
		}
	})
	b.Run("bare verify", func(b *testing.B) { w.benchVerify(b, p.Assertion) })
}

// TestSameWork: an unknown client, an unknown key and another algorithm cost one verification, as a wrong signature does.
func TestSameWork(t *testing.T) {
	w := newWorld(t)
	w.client(authz.Client{ID: "signer", AuthMethod: authz.AuthPrivateKey, Keys: w.set("k")})
	a := clientauth.New(w.store, w.options)
	cost := func(p clientauth.Presented) float64 {
		return testing.AllocsPerRun(20, func() { _, _ = a.Authenticate(t.Context(), p) })
	}
	forged := w.sign("other", claims("signer"), "kid", "k")
	want := cost(by("signer", forged))
	for name, p := range map[string]clientauth.Presented{
		"another kid": by("signer", w.sign("other", claims("signer"))), "no kid": by("signer", w.sign("other", claims("signer"), "kid", "")),
	} {
		if got := cost(p); got < want*0.8 || got > want*1.2 {
			t.Errorf("%s: %.0f allocations, a wrong signature %.0f", name, got, want)
		}
	}
}
