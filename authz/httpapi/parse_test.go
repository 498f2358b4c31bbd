package httpapi

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/ace"
)

func TestParseAuthorize(t *testing.T) {
	const both = "client_id=phone&redirect_uri=http://127.0.0.1/cb"
	whole := authz.AuthorizeRequest{
		ResponseType: "code", ClientID: "phone", RedirectURI: "http://127.0.0.1/cb", State: "a&b", Scope: "unlock view", Audience: "door",
		CodeChallenge: "c", CodeChallengeMethod: "S256",
	}
	got, repeated, err := parseAuthorize(both + "&response_type=code&state=a%26b&scope=unlock+view&audience=door&code_challenge=c&code_challenge_method=S256&x=1")
	if err != nil || repeated || got != whole {
		t.Errorf("got %+v, %v, %v", got, repeated, err)
	}
	for query, ok := range map[string]bool{
		both: true, "": false, "client_id=phone": false, "redirect_uri=x": false, both + "&client_id=phone": false, both + "&redirect_uri=x": false,
		both + "&x=%": false, both + ";x=1": false, both + "&" + strings.Repeat("x", maxQuery-len(both)-1): true, both + "&" + strings.Repeat("x", maxQuery-len(both)): false,
		"client_id=&redirect_uri=": true, // known to nobody, which is the server's to say
	} {
		if _, _, err := parseAuthorize(query); (err == nil) != ok {
			t.Errorf("%.80q: got %v", query, err)
		}
	}
	for _, twice := range []string{"state", "scope", "audience", "response_type", "code_challenge", "code_challenge_method", "x", ""} {
		if _, repeated, err := parseAuthorize(both + "&" + twice + "=1&" + twice + "=1"); err != nil || !repeated {
			t.Errorf("%q twice: got %v, %v", twice, repeated, err)
		}
	}
}

// FuzzParseAuthorize: what is read is what one strict reading of the query says, whatever the query is.
func FuzzParseAuthorize(f *testing.F) {
	f.Add("client_id=phone&redirect_uri=http://127.0.0.1/cb&state=%00&scope=a+b")
	f.Add("client_id=a&client_id=b&redirect_uri=c")
	f.Add("client_id=a&redirect_uri=b&scope=1&scope=2")
	f.Add("client%5fid=a&redirect_uri=b;c&%")
	f.Fuzz(func(t *testing.T, query string) {
		r, repeated, err := parseAuthorize(query)
		v, perr := url.ParseQuery(query)
		if err != nil {
			if r != (authz.AuthorizeRequest{}) || repeated {
				t.Fatalf("an error comes with %+v", r)
			}
			return
		}
		if perr != nil || len(v["client_id"]) != 1 || len(v["redirect_uri"]) != 1 || len(query) > maxQuery {
			t.Fatalf("%q was read as %+v", query, r)
		}
		once := true
		for _, values := range v {
			once = once && len(values) == 1
		}
		if once == repeated || r.ClientID != v.Get("client_id") || r.RedirectURI != v.Get("redirect_uri") || r.State != v.Get("state") {
			t.Fatalf("%q was read as %+v, repeated %v", query, r, repeated)
		}
	})
}

// FuzzParseToken: whatever is posted is read or refused with an error that has an answer; what is read from a form says the
// same when it is written as a form and read again.
func FuzzParseToken(f *testing.F) {
	const own = "grant_type=client_credentials&audience=door&scope=unlock+view&client_id=gateway&client_secret=s"
	for _, body := range []string{
		own, own + "&cnonce=AQI&ace_profile=&token_upload=1&to_rs=UKIYKEhub25jZTEhIRgrQQE", own + "&scope=view", own + ";x=1", own + "&x=%zz", "",
		own + "&req_cnf=" + url.QueryEscape(`{"jwk":{"kty":"oct","k":"MDEyMzQ1Njc4OWFiY2RlZg"}}`),
	} {
		f.Add(ace.MediaTypeForm, body)
	}
	f.Add(ace.MediaTypeJSON, `{"grant_type":"client_credentials","scope_aif":"gYJsL2Rvb3IvdW5sb2NrAg","req_cnf":{"kid":"AQ"}}`)
	f.Add("text/plain; charset=x", "grant_type")
	f.Fuzz(func(t *testing.T, kind, body string) {
		in, err := parse(kind, body)
		var wire *ace.Error
		var below *httpError
		switch {
		case err != nil:
			if !errors.As(err, &wire) && !errors.As(err, &below) || in != nil {
				t.Fatalf("%q %q: a fault of ours: %v", kind, body, err)
			}
			return
		case in.GrantType != authz.AuthorizationCode && in.GrantType != authz.ClientCredentials || in.GrantTypeImplied:
			t.Fatalf("%q %q: grant type %q", kind, body, in.GrantType)
		}
		form, err := in.Form()
		if err != nil {
			return // what JSON can say and a form cannot
		}
		again, err := parse(ace.MediaTypeForm, form.Encode())
		if err != nil || in.Scope.Rights == nil && !reflect.DeepEqual(in, again) {
			t.Fatalf("%q %q: as a form %q: %v", kind, body, form, err)
		}
	})
}

func parse(kind, body string) (*ace.TokenRequest, error) {
	r := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader(body))
	r.Header.Set("Content-Type", kind)
	return parseToken(httptest.NewRecorder(), r)
}

// TestServerLimits: nobody holds a connection for long, or makes the server read without end.
func TestServerLimits(t *testing.T) {
	s := Serve(nil)
	for name, limit := range map[string]time.Duration{"header": s.ReadHeaderTimeout, "request": s.ReadTimeout, "answer": s.WriteTimeout, "idle": s.IdleTimeout} {
		if limit <= 0 || limit > 2*time.Minute {
			t.Errorf("%s: %v", name, limit)
		}
	}
	// The answer may wait for a lock and then for nothing else.
	if s.WriteTimeout < 2*authz.UploadTime || s.MaxHeaderBytes != 16<<10 {
		t.Errorf("answers have %v, headers %d bytes", s.WriteTimeout, s.MaxHeaderBytes)
	}
}

// TestFormTarget: what stands in the policy of a page is an origin or a scheme and nothing that could end it.
func TestFormTarget(t *testing.T) {
	for redirect, want := range map[string]string{
		"http://127.0.0.1:51004/cb?x=1": "http://127.0.0.1:51004", "http://[::1]:51004/cb": "http://[::1]:51004", "https://app.example/a/b": "https://app.example",
		"com.example.app:/cb": "com.example.app:", "%": "", "https://a.example;script-src/": "", "https://a.example,b/": "",
	} {
		if got := formTarget(redirect); got != want {
			t.Errorf("%s: got %q, want %q", redirect, got, want)
		}
	}
}
