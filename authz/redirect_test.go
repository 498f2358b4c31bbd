package authz

import (
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
)

var registered = []string{
	"https://app.example/cb", "https://app.example/cb?x=1", "com.example.app:/cb", "http://127.0.0.1/cb", "http://[::1]/cb",
	"http://127.0.0.1:9000/fixed", "http://localhost/cb", "https://app.example/frag#ment",
}

func TestRedirectAllowed(t *testing.T) {
	for _, uri := range []string{
		"https://app.example/cb", "https://app.example/cb?x=1", "com.example.app:/cb", "http://127.0.0.1/cb", "http://[::1]/cb",
		"http://127.0.0.1:1/cb", "http://127.0.0.1:65535/cb", "http://[::1]:51004/cb", "http://127.0.0.1:9001/fixed",
		"http://127.0.0.1/fixed", "http://localhost/cb",
	} {
		if !redirectAllowed(registered, uri) {
			t.Errorf("%s is refused", uri)
		}
	}
}

// evilRedirects is F77: what has been used against other servers.
var evilRedirects = strings.Fields(`
	https://app.example https://app.example/ https://app.example/cb/ https://app.example/cb/.. https://app.example/cb/../evil
	https://app.example/c https://app.example/cb/x https://app.example/cb%2f https://app.example/%63b https://app.example/CB
	https://app.example//cb https://app.example/./cb https://app.example/cb; https://app.example/cb? https://app.example/cb&x=1
	https://app.example/cb#  https://app.example/cb#x https://app.example/frag#ment https://app.example/frag
	https://app.example/cb?x=2 https://app.example/cb?x=1&y=2 https://app.example/cb?x=1&x=1 https://app.example/cb?X=1
	https://app.example/cb?next=https://evil.example
	https://APP.example/cb HTTPS://app.example/cb https://app.example:443/cb https://app.example.:443/cb https://app.example./cb
	https://xapp.example/cb https://app.examplex/cb https://evil-app.example/cb https://app.example.evil.example/cb
	https://sub.app.example/cb https://evil.example/app.example/cb https://evil.example/cb https://evil.example/?https://app.example/cb
	https://app.example@evil.example/cb https://evil.example@app.example/cb https://user:pass@app.example/cb
	https://app.example%40evil.example/cb https://app.example%2f@evil.example/cb https://app.example\@evil.example/cb
	https://app.example\.evil.example/cb https:\\app.example\cb https:/app.example/cb https:app.example/cb //app.example/cb //evil.example
	///evil.example /\evil.example \\evil.example app.example/cb /cb cb .. . * https://* https://*.example/cb
	http://app.example/cb ftp://app.example/cb javascript:alert(1) javascript://app.example/cb%0aalert(1) data:text/html,x
	vbscript:x file:///etc/passwd blob:https://app.example/cb view-source:https://app.example/cb
	com.example.app://cb com.example.app:/cb/x com.example.app:cb com.example.app:/CB COM.example.app:/cb com.example.appx:/cb xcom.example.app:/cb
	http://127.0.0.1 http://127.0.0.1/ http://127.0.0.1/cb/ http://127.0.0.1/cbx http://127.0.0.1/CB http://127.0.0.1/%63b http://127.0.0.1//cb
	http://127.0.0.1:1@evil.example/cb http://127.0.0.1@evil.example/cb http://127.0.0.1%40evil.example/cb http://user@127.0.0.1/cb
	http://127.0.0.1:80:80/cb http://127.0.0.1:/cb http://127.0.0.1:0/cb http://127.0.0.1:65536/cb http://127.0.0.1:-1/cb http://127.0.0.1:+1/cb
	http://127.0.0.1:080/cb http://127.0.0.1:1e3/cb http://127.0.0.1:0x50/cb http://127.0.0.1:８０/cb http://127.0.0.1:80a/cb http://127.0.0.1:http/cb
	http://127.0.0.1:80#/cb http://127.0.0.1:80?/cb http://127.0.0.1:80/cb#x http://127.0.0.1:80/cb?x http://127.0.0.1:80;/cb http://127.0.0.1:80%2fcb
	http://127.0.0.1:80\@evil.example/cb http://127.0.0.1\evil.example/cb http://127.0.0.1.evil.example/cb http://evil.example/127.0.0.1/cb
	http://127.0.0.2/cb http://127.1/cb http://127.0.0.01/cb http://127.000.000.001/cb http://2130706433/cb http://0x7f000001/cb http://0177.0.0.1/cb
	http://[127.0.0.1]/cb http://127.0.0.1]/cb http://[127.0.0.1/cb http://[[::1]]/cb http://::1/cb http://[::1/cb http://::1]/cb http://[::1]x/cb
	http://[::1]:/cb http://[::1]:0/cb http://[::1]:80:80/cb http://[::1]@evil.example/cb http://[::1]:1@evil.example/cb http://[::1%25lo]/cb http://[::1%25lo]:80/cb
	http://[0:0:0:0:0:0:0:1]/cb http://[::ffff:127.0.0.1]/cb http://[::]/cb http://0.0.0.0/cb http://[::2]/cb
	http://localhost:1/cb http://LOCALHOST/cb http://localhost/cb/ http://localhost@evil.example/cb http://localhost.evil.example/cb
	https://127.0.0.1/cb https://127.0.0.1:443/cb HTTP://127.0.0.1/cb http:/127.0.0.1/cb http:127.0.0.1/cb http:///127.0.0.1/cb http:\\127.0.0.1/cb
	http://１２７.0.0.1/cb http://127。0。0。1/cb http://127.0.0.1／cb http://127.0.0.1/cb%00 http://127.0.0.1/cb%23 http://127.0.0.1/cb%3f
`)

func TestRedirectRefused(t *testing.T) {
	corpus := append(slices.Clone(evilRedirects), "", " ", " https://app.example/cb", "https://app.example/cb ", "https://app.example/cb\n",
		"https://app.example/cb\r\nSet-Cookie: x=1", "https://app.example/cb\x00", "https://app.example/cb\t", "\thttp://127.0.0.1/cb", "http://127.0.0.1:8 0/cb")
	for _, uri := range corpus {
		if redirectAllowed(registered, uri) {
			t.Errorf("%q is allowed", uri)
		}
		for _, one := range registered[:6] {
			// A URI that is the beginning or the end of another is another.
			if uri != "" && redirectAllowed([]string{one + uri}, one) || redirectAllowed([]string{one}, uri+one) && uri != "" {
				t.Errorf("%q stands for %q with more of it", one, uri)
			}
		}
	}
	if len(evilRedirects) < 150 {
		t.Errorf("the corpus has shrunk to %d", len(evilRedirects))
	}
}

func TestNoRedirectRegistered(t *testing.T) {
	for _, uri := range []string{"", "http://127.0.0.1/cb", "https://app.example/cb"} {
		if redirectAllowed(nil, uri) {
			t.Errorf("%q is allowed for a client without redirect URIs", uri)
		}
	}
}

// FuzzRedirectAllowed: whatever is allowed is registered, or leads a browser to this machine and a registered path.
func FuzzRedirectAllowed(f *testing.F) {
	for _, uri := range append(slices.Clone(evilRedirects), registered...) {
		f.Add(uri)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		if !redirectAllowed(registered, uri) {
			return
		}
		if strings.Contains(uri, "#") {
			t.Fatalf("%q has a fragment", uri)
		}
		if slices.Contains(registered, uri) {
			return
		}
		u, err := url.Parse(uri)
		if err != nil || u.Scheme != "http" || u.User != nil || u.Opaque != "" {
			t.Fatalf("%q is allowed: %+v, %v", uri, u, err)
		}
		ip := net.ParseIP(u.Hostname())
		known := slices.ContainsFunc(registered, func(r string) bool {
			k, err := url.Parse(r)
			return err == nil && k.Hostname() == u.Hostname() && k.RequestURI() == u.RequestURI()
		})
		if ip == nil || !ip.IsLoopback() || !known {
			t.Fatalf("%q is allowed and leads to %s%s", uri, u.Host, u.RequestURI())
		}
	})
}
