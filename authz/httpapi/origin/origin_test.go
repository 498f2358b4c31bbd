package origin

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

var trust = Trust{
	Proxies:    []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:1::/48"), netip.MustParsePrefix("fe80::1/128")},
	CertHeader: "Client-Cert",
}

// seen asks From behind Handler.
func seen(t Trust, r *http.Request) (o Origin, status int) {
	w := httptest.NewRecorder()
	Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { o = From(r.Context()) }), t).ServeHTTP(w, r)
	return o, w.Code
}

func request(peer string, headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr = peer
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	return r
}

// TestAddress is the matrix of peers and headers (F96).
func TestAddress(t *testing.T) {
	const xff, fwd = "X-Forwarded-For: ", "Forwarded: "
	for _, row := range []struct {
		name, peer string
		headers    []string
		want       string
	}{
		{"a stranger alone", "192.0.2.1:1234", nil, "192.0.2.1"},
		{"a stranger who writes a header", "192.0.2.1:1234", []string{xff + "198.51.100.7", fwd + "for=198.51.100.7"}, "192.0.2.1"},
		{"a stranger who names a proxy", "192.0.2.1:1234", []string{xff + "10.0.0.1"}, "192.0.2.1"},
		{"other headers of the kind", "10.0.0.1:1", []string{"X-Real-Ip: 198.51.100.7", "True-Client-Ip: 198.51.100.7"}, "10.0.0.1"},
		{"a proxy that says nothing", "10.0.0.1:1", nil, "10.0.0.1"},
		{"a proxy with a client", "10.0.0.1:1", []string{xff + "198.51.100.7"}, "198.51.100.7"},
		{"a proxy with a client that wrote the header", "10.0.0.1:1", []string{xff + "203.0.113.9, 198.51.100.7"}, "198.51.100.7"},
		{"the same in two lines", "10.0.0.1:1", []string{xff + "203.0.113.9", xff + "198.51.100.7"}, "198.51.100.7"},
		{"two proxies", "10.0.0.1:1", []string{xff + "203.0.113.9, 198.51.100.7, 10.0.0.2"}, "198.51.100.7"},
		{"two proxies in three lines", "10.0.0.1:1", []string{xff + "203.0.113.9", xff + "198.51.100.7", xff + "10.0.0.2"}, "198.51.100.7"},
		{"proxies alone", "10.0.0.1:1", []string{xff + "10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"garbage from the client", "10.0.0.1:1", []string{xff + "'; drop, 198.51.100.7"}, "198.51.100.7"},
		{"garbage from the proxy", "10.0.0.1:1", []string{xff + "198.51.100.7, garbage"}, "10.0.0.1"},
		{"garbage between proxies", "10.0.0.1:1", []string{xff + "198.51.100.7, garbage, 10.0.0.2"}, "10.0.0.2"},
		{"an empty header", "10.0.0.1:1", []string{xff}, "10.0.0.1"},
		{"an empty end", "10.0.0.1:1", []string{xff + "198.51.100.7,"}, "10.0.0.1"},
		{"a port behind the address", "10.0.0.1:1", []string{xff + "198.51.100.7:443"}, "198.51.100.7"},
		{"IPv6", "[2001:db8:1::5]:1", []string{xff + "2001:db8:2::1"}, "2001:db8:2::1"},
		{"IPv6 in brackets", "[2001:db8:1::5]:1", []string{xff + "[2001:db8:2::1]"}, "2001:db8:2::1"},
		{"IPv6 with port", "[2001:db8:1::5]:1", []string{xff + "[2001:db8:2::1]:99"}, "2001:db8:2::1"},
		{"half a bracket", "10.0.0.1:1", []string{xff + "[2001:db8:2::1"}, "10.0.0.1"},
		{"IPv4 written as IPv6 is the proxy", "[::ffff:10.0.0.1]:1", []string{xff + "::ffff:198.51.100.7"}, "198.51.100.7"},
		{"a stranger with a zone", "[fe80::2%eth0]:1", []string{xff + "198.51.100.7"}, "fe80::2"},
		{"a proxy with a zone", "[fe80::1%eth0]:1", []string{xff + "fe80::9%wlan0"}, "fe80::9"},
		{"no address at all", "@", []string{xff + "198.51.100.7"}, ""},
		{"a list longer than any", "10.0.0.1:1", []string{xff + "198.51.100.7" + strings.Repeat(", 10.0.0.2", 40)}, "10.0.0.2"},

		{"Forwarded", "10.0.0.1:1", []string{fwd + "for=198.51.100.7;proto=https;by=10.0.0.1"}, "198.51.100.7"},
		{"Forwarded, upper case", "10.0.0.1:1", []string{fwd + "Proto=https; FOR=198.51.100.7"}, "198.51.100.7"},
		{"Forwarded, RFC 7239 §4", "10.0.0.1:1", []string{fwd + `For="[2001:db8:cafe::17]:4711"`}, "2001:db8:cafe::17"},
		{"Forwarded, two elements", "10.0.0.1:1", []string{fwd + "for=203.0.113.9, for=198.51.100.7"}, "198.51.100.7"},
		{"Forwarded, two lines", "10.0.0.1:1", []string{fwd + "for=203.0.113.9", fwd + "for=198.51.100.7, for=10.0.0.2"}, "198.51.100.7"},
		{"Forwarded, a comma in quotes", "10.0.0.1:1", []string{fwd + `for=198.51.100.7;host="a,for=203.0.113.9"`}, "198.51.100.7"},
		{"Forwarded, an escaped quote", "10.0.0.1:1", []string{fwd + `host="a\",for=203.0.113.9";for=198.51.100.7`}, "198.51.100.7"},
		{"Forwarded, a quote without end swallows what follows", "10.0.0.1:1", []string{fwd + `for="203.0.113.9, for=198.51.100.7`}, "10.0.0.1"},
		{"Forwarded, hidden", "10.0.0.1:1", []string{fwd + "for=198.51.100.7, for=_hidden"}, "10.0.0.1"},
		{"Forwarded, unknown", "10.0.0.1:1", []string{fwd + "for=unknown"}, "10.0.0.1"},
		{"Forwarded, for twice", "10.0.0.1:1", []string{fwd + "for=198.51.100.7;for=203.0.113.9"}, "10.0.0.1"},
		{"Forwarded without for", "10.0.0.1:1", []string{fwd + "proto=https"}, "10.0.0.1"},

		{"both agree", "10.0.0.1:1", []string{xff + "198.51.100.7", fwd + "for=198.51.100.7"}, "198.51.100.7"},
		{"the client adds Forwarded", "10.0.0.1:1", []string{xff + "198.51.100.7", fwd + "for=203.0.113.9"}, "10.0.0.1"},
		{"the client adds X-Forwarded-For", "10.0.0.1:1", []string{xff + "203.0.113.9", fwd + "for=198.51.100.7"}, "10.0.0.1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			o, status := seen(trust, request(row.peer, row.headers...))
			var want netip.Addr
			if row.want != "" {
				want = netip.MustParseAddr(row.want)
			}
			if o.Address != want || status != http.StatusOK {
				t.Errorf("got %v (%d), want %v", o.Address, status, want)
			}
		})
	}
}

func TestNobodyIsBelievedByDefault(t *testing.T) {
	o, _ := seen(Trust{}, request("10.0.0.1:1", "X-Forwarded-For: 198.51.100.7", "Client-Cert: :AA==:", ": :AA==:"))
	if want := (Origin{Address: netip.MustParseAddr("10.0.0.1")}); o.Address != want.Address || o.Certificate != nil {
		t.Errorf("got %v, want %v", o, want)
	}
}

func TestOnlyProxies(t *testing.T) {
	only := trust
	only.Only = true
	for peer, want := range map[string]int{"10.0.0.1:1": 200, "192.0.2.1:1": 403, "127.0.0.1:1": 403, "@": 403, "[2001:db8:1::1]:1": 200, "[2001:db8:2::1]:1": 403} {
		if _, got := seen(only, request(peer, "X-Forwarded-For: 10.0.0.1")); got != want {
			t.Errorf("%s: got %d, want %d", peer, got, want)
		}
	}
}

func TestWithoutHandler(t *testing.T) {
	if o := From(t.Context()); o.Address.IsValid() || o.Certificate != nil {
		t.Errorf("got %v, want nothing", o)
	}
}

func newCertificate(t testing.TB) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Unix(1<<32, 0)}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestCertificate: from TLS it is taken from strangers alone, from the header of proxies alone.
func TestCertificate(t *testing.T) {
	own, told := newCertificate(t), newCertificate(t)
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: told.Raw}))
	rfc := "Client-Cert: :" + base64.StdEncoding.EncodeToString(told.Raw) + ":"
	nginx := "Client-Cert: " + url.QueryEscape(text)
	nginx = strings.ReplaceAll(nginx, "+", "%20")
	for _, row := range []struct {
		name, peer string
		tls        bool
		headers    []string
		want       *x509.Certificate
	}{
		{name: "a stranger with TLS", peer: "192.0.2.1:1", tls: true, want: own},
		{name: "a stranger with TLS and a header", peer: "192.0.2.1:1", tls: true, headers: []string{rfc}, want: own},
		{name: "a stranger with a header alone", peer: "192.0.2.1:1", headers: []string{rfc}},
		{name: "a proxy with TLS of its own", peer: "10.0.0.1:1", tls: true},
		{name: "a proxy, RFC 9440", peer: "10.0.0.1:1", headers: []string{rfc}, want: told},
		{name: "a proxy with both", peer: "10.0.0.1:1", tls: true, headers: []string{rfc}, want: told},
		{name: "a proxy as nginx", peer: "10.0.0.1:1", headers: []string{nginx}, want: told},
		{name: "the header twice", peer: "10.0.0.1:1", headers: []string{rfc, rfc}},
		{name: "another header", peer: "10.0.0.1:1", headers: []string{"X-" + rfc}},
		{name: "no certificate", peer: "10.0.0.1:1", headers: []string{"Client-Cert: :AAAA:"}},
		{name: "no base64", peer: "10.0.0.1:1", headers: []string{"Client-Cert: :!:"}},
		{name: "an open end", peer: "10.0.0.1:1", headers: []string{strings.TrimSuffix(rfc, ":")}},
		{name: "empty", peer: "10.0.0.1:1", headers: []string{"Client-Cert: "}},
		{name: "two certificates", peer: "10.0.0.1:1", headers: []string{"Client-Cert: " + url.PathEscape(text+text)}},
		{name: "a private key", peer: "10.0.0.1:1", headers: []string{"Client-Cert: " + url.PathEscape(strings.ReplaceAll(text, "CERTIFICATE", "PRIVATE KEY"))}},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := request(row.peer, row.headers...)
			if row.tls {
				r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{own, told}}
			}
			o, _ := seen(trust, r)
			if !o.Certificate.Equal(row.want) {
				t.Errorf("a certificate: %t, want %t", o.Certificate != nil, row.want != nil)
			}
			if fromTLS := row.want == own; fromTLS != (len(o.Intermediates) == 1) {
				t.Errorf("%d intermediates", len(o.Intermediates))
			}
		})
	}
}

// FuzzHeaders: whatever stands in the headers, what comes out is the peer or stood in one, and is never a stranger's say.
func FuzzHeaders(f *testing.F) {
	f.Add("203.0.113.9, 198.51.100.7", "", "")
	f.Add("", `for="[2001:db8::1]:1";by=x, for=_a`, ":AAAA:")
	f.Add("[::1", `for="\",for=1.2.3.4`, "-----BEGIN%20CERTIFICATE-----")
	f.Fuzz(func(t *testing.T, usual, standard, certificate string) {
		for _, peer := range []string{"10.0.0.1:1", "192.0.2.1:1"} {
			r := request(peer)
			r.Header = http.Header{"X-Forwarded-For": {usual}, "Forwarded": {standard}, "Client-Cert": {certificate}}
			o, _ := seen(trust, r)
			if !o.Address.IsValid() || o.Address.Zone() != "" || o.Address.Is4In6() {
				t.Errorf("%v is no plain address", o.Address)
			}
			if peer == "192.0.2.1:1" && (o.Address.String() != "192.0.2.1" || o.Certificate != nil) {
				t.Errorf("a stranger is believed: %v", o)
			}
			if o.Certificate != nil && !bytes.Equal(der(certificate), o.Certificate.Raw) {
				t.Error("another certificate")
			}
		}
	})
}
