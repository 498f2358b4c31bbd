package httpapi

import (
	"net/url"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/authz"
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
