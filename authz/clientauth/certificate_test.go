package clientauth_test

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/clientauth"
)

func template(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name, Organization: []string{"Doors, Inc."}},
		NotBefore: evening.Add(-time.Hour), NotAfter: evening.Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

// authority is one who issues certificates.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func (w *world) authority(name string, by *authority) *authority {
	t := template(name)
	t.IsCA, t.BasicConstraintsValid, t.KeyUsage, t.ExtKeyUsage = true, true, x509.KeyUsageCertSign, nil
	return &authority{w.certificate(name, t, by), w.key(name)}
}

// certificate is one for the key of this name; without an authority it is self-signed.
func (w *world) certificate(name string, t *x509.Certificate, by *authority) *x509.Certificate {
	w.t.Helper()
	parent, key := t, w.key(name)
	if by != nil {
		parent, key = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, w.key(name).Public(), key)
	w.must(err)
	cert, err := x509.ParseCertificate(der)
	w.must(err)
	return cert
}

// chain is a JWK Set with a certificate.
func chain(certs ...*x509.Certificate) string {
	keys := []map[string]any{}
	for _, c := range certs {
		keys = append(keys, map[string]any{"kty": "EC", "x5c": []string{base64.StdEncoding.EncodeToString(c.Raw)}})
	}
	text, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		panic(err)
	}
	return string(text)
}

func with(cert *x509.Certificate, change func(*x509.Certificate)) *x509.Certificate {
	change(cert)
	return cert
}

// TestIssuedCertificates: RFC 8705 §2.1.
func TestIssuedCertificates(t *testing.T) {
	w := newWorld(t)
	root := w.authority("root", nil)
	other := w.authority("other", nil)
	middle := w.authority("middle", root)
	w.options.Roots = x509.NewCertPool()
	w.options.Roots.AddCert(root.cert)
	uri, err := url.Parse("urn:example:meter:7")
	w.must(err)
	register := func(id string, s authz.ClientSettings) {
		w.client(authz.Client{ID: id, AuthMethod: authz.AuthTLS, Settings: s})
	}
	register("subject", authz.ClientSettings{TLSSubject: `CN=meter,O=Doors\, Inc.`})
	register("dns", authz.ClientSettings{TLSSANDNS: "meter.example"})
	register("uri", authz.ClientSettings{TLSSANURI: uri.String()})
	register("nameless", authz.ClientSettings{})
	register("two names", authz.ClientSettings{TLSSANDNS: "meter.example", TLSSANURI: uri.String()})
	w.client(authz.Client{ID: "gateway", AuthMethod: authz.AuthSecretPost, SecretHash: authz.HashSecret("s")})

	names := func(c *x509.Certificate) {
		c.DNSNames, c.URIs = []string{"meter.example", "m2.example"}, []*url.URL{uri}
	}
	good := w.certificate("leaf", with(template("meter"), names), root)
	below := w.certificate("leaf", with(template("meter"), names), middle)
	for _, id := range []string{"subject", "dns", "uri"} {
		w.good(clientauth.Presented{ClientID: id, Certificate: good}, id)
		w.good(clientauth.Presented{ClientID: id, Certificate: below, Intermediates: []*x509.Certificate{middle.cert}}, id)
		w.bad(clientauth.Presented{ClientID: id, Certificate: below}, id) // nobody shows who issued it
		w.bad(clientauth.Presented{ClientID: id}, id)
		w.bad(clientauth.Presented{ClientID: id, Certificate: good, Secret: "s"}, id)
		for name, change := range map[string]func(*x509.Certificate){
			"expired":     func(c *x509.Certificate) { c.NotAfter = evening.Add(-time.Second) },
			"not yet":     func(c *x509.Certificate) { c.NotBefore = evening.Add(time.Second) },
			"for servers": func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} },
			"longer names": func(c *x509.Certificate) {
				c.Subject.CommonName, c.DNSNames = "meter2", []string{"meter.example.evil"}
				c.URIs = []*url.URL{{Scheme: "urn", Opaque: uri.Opaque + "0"}}
			},
			"names before": func(c *x509.Certificate) {
				c.Subject.CommonName, c.DNSNames, c.URIs = "x meter", []string{"x.meter.example"}, nil
			},
			"a wildcard": func(c *x509.Certificate) { c.Subject.CommonName, c.DNSNames, c.URIs = "*", []string{"*.example"}, nil },
			"the name elsewhere": func(c *x509.Certificate) {
				c.Subject = pkix.Name{CommonName: "meter.example"}
				c.DNSNames = []string{"urn:example:meter:7"}
				c.URIs = nil
			},
			"written into a CN": func(c *x509.Certificate) {
				c.Subject = pkix.Name{CommonName: `meter,O=Doors\, Inc.`}
				c.DNSNames, c.URIs = nil, nil
			},
			"in another case": func(c *x509.Certificate) {
				c.Subject.CommonName, c.DNSNames, c.URIs = "Meter", []string{"Meter.example"}, nil
			},
		} {
			t.Run(id+", "+name, func(t *testing.T) {
				w.t = t
				w.bad(clientauth.Presented{ClientID: id, Certificate: w.certificate("leaf", with(with(template("meter"), names), change), root)}, id)
			})
			w.t = t
		}
		w.bad(clientauth.Presented{ClientID: id, Certificate: w.certificate("leaf", with(template("meter"), names), other)}, id)
		w.bad(clientauth.Presented{ClientID: id, Certificate: w.certificate("leaf", with(template("meter"), names), nil)}, id)
	}
	for _, id := range []string{"nameless", "two names", "nobody", "gateway"} {
		w.bad(clientauth.Presented{ClientID: id, Certificate: good}, id)
	}
	w.options.Roots = nil
	w.bad(clientauth.Presented{ClientID: "dns", Certificate: good}, "dns")
}

// TestRegisteredCertificates: RFC 8705 §2.2.
func TestRegisteredCertificates(t *testing.T) {
	w := newWorld(t)
	good, second := w.certificate("self", template("meter"), nil), w.certificate("second", template("meter"), nil)
	old := w.certificate("self", with(template("meter"), func(c *x509.Certificate) { c.NotAfter = evening.Add(-time.Second) }), nil)
	early := w.certificate("self", with(template("meter"), func(c *x509.Certificate) { c.NotBefore = evening.Add(time.Second) }), nil)
	w.client(authz.Client{ID: "meter", AuthMethod: authz.AuthSelfSigned, Keys: chain(good, second, old, early)})
	w.client(authz.Client{ID: "bare", AuthMethod: authz.AuthSelfSigned})
	w.client(authz.Client{ID: "keys", AuthMethod: authz.AuthSelfSigned, Keys: w.set("self")})
	for _, c := range []*x509.Certificate{good, second} {
		if uses := w.good(clientauth.Presented{ClientID: "meter", Certificate: c}, "meter"); uses != nil {
			t.Errorf("uses %v", uses)
		}
	}
	again := w.certificate("self", template("meter"), nil) // the same key and name, another certificate
	stranger := w.certificate("stranger", template("meter"), nil)
	for name, c := range map[string]*x509.Certificate{"none": nil, "made again": again, "a stranger's": stranger, "expired": old, "not yet": early} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			w.bad(clientauth.Presented{ClientID: "meter", Certificate: c}, "meter")
		})
		w.t = t
	}
	for _, id := range []string{"bare", "keys", "nobody"} {
		w.bad(clientauth.Presented{ClientID: id, Certificate: good}, id)
	}
	w.must(w.store.SuspendClient(t.Context(), "meter", evening))
	w.bad(clientauth.Presented{ClientID: "meter", Certificate: good}, "meter")
}

func FuzzCheck(f *testing.F) {
	w := newWorld(f)
	f.Add(chain(w.certificate("self", template("meter"), nil)))
	f.Add(w.set("k"))
	f.Add(`{"keys":[{"x5c":["AAAA"]}]}`)
	f.Fuzz(func(_ *testing.T, keys string) {
		for _, m := range []authz.AuthMethod{authz.AuthPrivateKey, authz.AuthSelfSigned} {
			_ = clientauth.Check(&authz.Client{AuthMethod: m, Keys: keys}) // must neither panic nor hang
		}
	})
}
