package grant_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"math/big"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/grant"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/aif"
)

// The pair of RFC 7636 appendix B.
const (
	verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

const (
	redirect = "https://phone.example/cb"
	code     = "SplxlOBeZQQYbYS6WxSbIA"
)

var consumed = time.Date(2026, 11, 22, 18, 0, 30, 0, time.UTC)

func row() authz.CodeGrant {
	hash := sha256.Sum256([]byte(code))
	return authz.CodeGrant{
		Hash: hash[:], Client: "phone", User: "mother", RedirectURI: redirect, Challenge: challenge,
		Rights: aif.New(aif.Entry{Path: "/alarm/disarm", Methods: aif.POST}, aif.Entry{Path: "/door/unlock", Methods: aif.POST}),
		Grant:  pop.GrantID{1}, IssuedAt: consumed.Add(-30 * time.Second), ExpiresAt: consumed.Add(30 * time.Second), ConsumedAt: consumed,
	}
}

func redemption() authz.Judgement {
	return authz.Judgement{
		GrantType: authz.AuthorizationCode, Client: phone(), Code: row(), CodeValue: code, Verifier: verifier,
		RedirectURI: redirect, Scope: "/door/unlock:POST",
	}
}

func phone() authz.Client {
	return authz.Client{ID: "phone", AuthMethod: authz.AuthNone, RedirectURIs: []string{redirect}, GrantTypes: []string{authz.AuthorizationCode}}
}

func service() authz.Judgement {
	return authz.Judgement{
		GrantType: authz.ClientCredentials, Scope: "/door:GET",
		Client: authz.Client{ID: "monitor", AuthMethod: authz.AuthOSCORE, GrantTypes: []string{authz.ClientCredentials}},
	}
}

func TestJudgeLetsGoodGrantsPass(t *testing.T) {
	whole := redemption()
	whole.Scope = whole.Code.Rights.String()
	none := redemption()
	none.Scope = ""
	longest := redemption()
	longest.Verifier = strings.Repeat("~", 128)
	longest.Code.Challenge = s256(longest.Verifier)
	loopback := redemption()
	loopback.RedirectURI = "http://127.0.0.1:51004/cb" // /authorize let any port pass (RFC 8252 §7.3)
	loopback.Code.RedirectURI = loopback.RedirectURI
	secretive := service()
	secretive.Client.AuthMethod, secretive.Client.SecretHash = authz.AuthSecretBasic, bytes.Repeat([]byte{7}, 32)
	for name, j := range map[string]authz.Judgement{
		"a part of the rights": redemption(), "all rights": whole, "no scope": none, "the longest verifier": longest,
		"a loopback port": loopback, "client credentials": service(), "a client with a secret": secretive,
	} {
		t.Run(name, func(t *testing.T) {
			before := j
			before.Code = clone(j.Code)
			if err := grant.New(nil).Judge(t.Context(), j); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(j, before) {
				t.Errorf("the judgement was changed: got %+v, want %+v", j, before)
			}
		})
	}
}

func clone(c authz.CodeGrant) authz.CodeGrant {
	c.Hash = bytes.Clone(c.Hash)
	c.Rights = append(aif.Rights(nil), c.Rights...)
	return c
}

func s256(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func TestJudgeRefusesCodes(t *testing.T) {
	other := sha256.Sum256([]byte("another code"))
	tests := []struct {
		name   string
		change func(*authz.Judgement)
		want   ace.ErrorCode
	}{
		{"another client's code", func(j *authz.Judgement) { j.Code.Client = "mallet" }, ace.InvalidGrant},
		{"no client", func(j *authz.Judgement) { j.Client.ID = "" }, ace.InvalidClient},
		{"a code of another row", func(j *authz.Judgement) { j.Code.Hash = other[:] }, ace.InvalidGrant},
		{"a row without hash", func(j *authz.Judgement) { j.Code.Hash = nil }, ace.InvalidGrant},
		{"no code", func(j *authz.Judgement) { j.CodeValue = "" }, ace.InvalidGrant},
		{"no code, and a row that fits it", func(j *authz.Judgement) {
			sum := sha256.Sum256(nil)
			j.CodeValue, j.Code.Hash = "", sum[:]
		}, ace.InvalidGrant},
		{"a code that was consumed at its end", func(j *authz.Judgement) { j.Code.ExpiresAt = consumed }, ace.InvalidGrant},
		{"a code that was consumed after its end", func(j *authz.Judgement) { j.Code.ExpiresAt = consumed.Add(-time.Nanosecond) }, ace.InvalidGrant},
		{"another verifier", func(j *authz.Judgement) { j.Verifier = "e" + verifier[1:] }, ace.InvalidGrant},
		{"no verifier", func(j *authz.Judgement) { j.Verifier = "" }, ace.InvalidGrant},
		{"neither verifier nor challenge", func(j *authz.Judgement) { j.Verifier, j.Code.Challenge = "", "" }, ace.InvalidGrant},
		{"a verifier without a challenge", func(j *authz.Judgement) { j.Code.Challenge = "" }, ace.InvalidGrant},
		{"the challenge as verifier", func(j *authz.Judgement) { j.Verifier = challenge }, ace.InvalidGrant},
		{"a plain challenge", func(j *authz.Judgement) { j.Code.Challenge = verifier + "~" }, ace.InvalidGrant},
		{"a verifier of 42 characters", func(j *authz.Judgement) { j.Verifier = verifier[:42]; j.Code.Challenge = s256(j.Verifier) }, ace.InvalidGrant},
		{"a verifier of 129 characters", func(j *authz.Judgement) {
			j.Verifier = strings.Repeat("v", 129)
			j.Code.Challenge = s256(j.Verifier)
		}, ace.InvalidGrant},
		{"a verifier with a space", func(j *authz.Judgement) { j.Verifier = verifier + " "; j.Code.Challenge = s256(j.Verifier) }, ace.InvalidGrant},
		{"a padded challenge", func(j *authz.Judgement) { j.Code.Challenge += "=" }, ace.InvalidGrant},
		{"another redirect URI", func(j *authz.Judgement) { j.RedirectURI = "https://mallet.example/cb" }, ace.InvalidGrant},
		{"a redirect URI that ends alike", func(j *authz.Judgement) { j.RedirectURI = "https://evilphone.example/cb" }, ace.InvalidGrant},
		{"a redirect URI on the same host", func(j *authz.Judgement) { j.RedirectURI = redirect + "/../x" }, ace.InvalidGrant},
		{"a redirect URI in capitals", func(j *authz.Judgement) { j.RedirectURI = strings.ToUpper(redirect) }, ace.InvalidGrant},
		{"no redirect URI", func(j *authz.Judgement) { j.RedirectURI = "" }, ace.InvalidGrant},
		{"no redirect URI in the row", func(j *authz.Judgement) { j.Code.RedirectURI = "" }, ace.InvalidGrant},
		{"no redirect URI at all", func(j *authz.Judgement) { j.RedirectURI, j.Code.RedirectURI = "", "" }, ace.InvalidGrant},
		{"more rights than were agreed to", func(j *authz.Judgement) { j.Scope += " /admin:POST" }, ace.InvalidScope},
		{"another method than was agreed to", func(j *authz.Judgement) { j.Scope = "/door/unlock:PUT" }, ace.InvalidScope},
		{"a scope that is no rights", func(j *authz.Judgement) { j.Scope = "admin" }, ace.InvalidScope},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			j := redemption()
			tt.change(&j)
			wantCode(t, grant.New(nil).Judge(t.Context(), j), tt.want)
		})
	}
}

func wantCode(t *testing.T, err error, want ace.ErrorCode) {
	t.Helper()
	var got *ace.Error
	if !errors.As(err, &got) || got.Code != want {
		t.Errorf("got %v, want %v", err, want)
	}
	if err != nil && (strings.Contains(err.Error(), code) || strings.Contains(err.Error(), verifier)) {
		t.Errorf("error shows a secret: %v", err)
	}
}

// TestOneAnswerToEveryBadCode: what is wrong with a code is not told.
func TestOneAnswerToEveryBadCode(t *testing.T) {
	wrongVerifier, wrongURI, wrongClient, wrongCode, badVerifier := redemption(), redemption(), redemption(), redemption(), redemption()
	wrongCode.CodeValue = "another"
	badVerifier.Verifier = "short"
	wrongVerifier.Verifier = strings.Repeat("v", 43)
	wrongURI.RedirectURI = "https://mallet.example/cb"
	wrongClient.Code.Client = "mallet"
	engine := grant.New(nil)
	want := engine.Judge(t.Context(), wrongVerifier).Error()
	for _, j := range []authz.Judgement{wrongURI, wrongClient, wrongCode, badVerifier} {
		if got := engine.Judge(t.Context(), j).Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestJudgeKnowsItsGrantTypes(t *testing.T) {
	for _, kind := range []string{"", "password", "__implicit", "implicit", "urn:custom", "Authorization_Code", "authorization_code "} {
		for _, j := range []authz.Judgement{redemption(), service()} {
			j.GrantType, j.Client.GrantTypes = kind, []string{kind}
			wantCode(t, grant.New(nil).Judge(t.Context(), j), ace.UnsupportedGrantType)
		}
	}
	j := redemption()
	j.Client.GrantTypes = []string{authz.ClientCredentials}
	wantCode(t, grant.New(nil).Judge(t.Context(), j), ace.UnauthorizedClient)
}

func TestPublicClientHasNoCredentials(t *testing.T) {
	j := service()
	j.Client.AuthMethod = authz.AuthNone
	wantCode(t, grant.New(nil).Judge(t.Context(), j), ace.InvalidClient)
}

// TestUnconsumedRowIsOurFault: a row that no statement has consumed could be redeemed twice.
func TestUnconsumedRowIsOurFault(t *testing.T) {
	j := redemption()
	j.Code.ConsumedAt = time.Time{}
	err := grant.New(nil).Judge(t.Context(), j)
	var refused *ace.Error
	if err == nil || errors.As(err, &refused) {
		t.Errorf("got %v, want an error that is not for the client", err)
	}
}

// TestParallelJudgementsShareNothing: one row in a hundred hands. Whether a code is redeemed once is decided by the
// statement that consumes it; here no call may see or leave anything of another.
func TestParallelJudgementsShareNothing(t *testing.T) {
	engine := grant.New(rand.Reader)
	shared := row()
	before := clone(shared)
	var wait sync.WaitGroup
	for i := range 100 {
		wait.Go(func() {
			j := redemption()
			j.Code = shared
			want := ace.ErrorCode(0)
			if i%2 == 1 {
				j.Verifier, want = strings.Repeat("v", 43), ace.InvalidGrant
			}
			err := engine.Judge(t.Context(), j)
			if want == 0 && err != nil {
				t.Errorf("call %d: %v", i, err)
			}
			if want != 0 {
				wantCode(t, err, want)
			}
		})
	}
	wait.Wait()
	if !reflect.DeepEqual(shared, before) {
		t.Errorf("the row was changed: got %+v, want %+v", shared, before)
	}
}

func TestNewCodeIsItsRandomBits(t *testing.T) {
	bits := bytes.Repeat([]byte{0xa5, 0x5a}, 16)
	got, err := grant.New(bytes.NewReader(bits)).NewCode(t.Context(), row())
	if want := base64.RawURLEncoding.EncodeToString(bits); err != nil || got != want {
		t.Errorf("got %s %v, want %s", got, err, want)
	}
}

func TestNewCodesDiffer(t *testing.T) {
	engine := grant.New(rand.Reader)
	var mu sync.Mutex
	seen := map[string]bool{}
	union, all := new(big.Int), new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1))
	var wait sync.WaitGroup
	for range 100 {
		wait.Go(func() {
			c, err := engine.NewCode(t.Context(), row())
			raw, decodeErr := base64.RawURLEncoding.DecodeString(c)
			mu.Lock()
			defer mu.Unlock()
			if err != nil || decodeErr != nil || len(raw) != 32 || seen[c] {
				t.Errorf("got %q %v", c, err)
			}
			seen[c] = true
			union.Or(union, new(big.Int).SetBytes(raw))
		})
	}
	wait.Wait()
	if union.Cmp(all) != 0 { // a bit that is 0 in 100 codes has a chance of 2^-100
		t.Errorf("some bits are always 0: %x", union)
	}
}

func TestNewCodeRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func(*authz.CodeGrant)
	}{
		{"no client", func(c *authz.CodeGrant) { c.Client = "" }},
		{"no redirect URI", func(c *authz.CodeGrant) { c.RedirectURI = "" }},
		{"no challenge", func(c *authz.CodeGrant) { c.Challenge = "" }},
		{"a challenge that is no hash", func(c *authz.CodeGrant) { c.Challenge = verifier[:42] + "~" }},
		{"a padded challenge", func(c *authz.CodeGrant) { c.Challenge += "=" }},
		{"a challenge with a line break", func(c *authz.CodeGrant) { c.Challenge = challenge[:20] + "\n" + challenge[20:] }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := row()
			tt.change(&c)
			got, err := grant.New(rand.Reader).NewCode(t.Context(), c)
			wantCode(t, err, ace.InvalidRequest)
			if got != "" {
				t.Errorf("got code %s", got)
			}
		})
	}
}

func TestNewCodeWithoutRandomnessFails(t *testing.T) {
	broken := errors.New("no entropy")
	for name, r := range map[string]io.Reader{"broken": iotest.ErrReader(broken), "short": bytes.NewReader(make([]byte, 31))} {
		got, err := grant.New(r).NewCode(t.Context(), row())
		var refused *ace.Error
		if got != "" || err == nil || errors.As(err, &refused) {
			t.Errorf("%s: got %q %v, want an error that is not for the client", name, got, err)
		}
	}
}

func BenchmarkJudge(b *testing.B) {
	engine, j, ctx := grant.New(rand.Reader), redemption(), context.Background()
	for b.Loop() {
		if err := engine.Judge(ctx, j); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNewCode(b *testing.B) {
	engine, c, ctx := grant.New(rand.Reader), row(), context.Background()
	for b.Loop() {
		if _, err := engine.NewCode(ctx, c); err != nil {
			b.Fatal(err)
		}
	}
}
