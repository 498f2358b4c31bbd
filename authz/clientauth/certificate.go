package clientauth

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/jose"
)

// byIssued is tls_client_auth (RFC 8705 §2.1): a certificate of one of our roots, with the one name that is registered.
func byIssued(a *Authenticator, c *authz.Client, p *Presented) ([]authz.Use, bool) {
	if p.Certificate == nil || a.options.Roots == nil { // with nil Verify would ask the system's roots
		return nil, false
	}
	intermediates := x509.NewCertPool()
	for _, one := range p.Intermediates {
		intermediates.AddCert(one)
	}
	_, err := p.Certificate.Verify(x509.VerifyOptions{
		Roots: a.options.Roots, Intermediates: intermediates, CurrentTime: a.options.Now(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return nil, err == nil && named(p.Certificate, &c.Settings)
}

// named compares whole names byte by byte: no wildcard, no part of a name, no other case. A client must be registered with
// exactly one of them (RFC 8705 §2.1.2).
func named(cert *x509.Certificate, s *authz.ClientSettings) bool {
	var has []string
	switch {
	case names(s) != 1:
		return false
	case s.TLSSANDNS != "":
		return slices.Contains(cert.DNSNames, s.TLSSANDNS)
	case s.TLSSANURI != "":
		for _, u := range cert.URIs {
			has = append(has, u.String())
		}
		return slices.Contains(has, s.TLSSANURI)
	}
	subject, err := Subject(cert)
	return err == nil && subject == s.TLSSubject
}

func names(s *authz.ClientSettings) (n int) {
	for _, name := range []string{s.TLSSubject, s.TLSSANDNS, s.TLSSANURI} {
		if name != "" {
			n++
		}
	}
	return n
}

// Subject is a certificate's subject as a client is registered with it: RFC 4514, the last part first, in the order of the
// certificate.
func Subject(cert *x509.Certificate) (string, error) {
	var parts pkix.RDNSequence
	rest, err := asn1.Unmarshal(cert.RawSubject, &parts)
	if err == nil && len(rest) > 0 {
		err = errors.New("bytes after it")
	}
	if err != nil {
		return "", errors.New("subject is malformed")
	}
	return parts.String(), nil
}

// byRegistered is self_signed_tls_client_auth (RFC 8705 §2.2): the very certificate that is registered, within its time.
func byRegistered(a *Authenticator, c *authz.Client, p *Presented) ([]authz.Use, bool) {
	certs, err := certificates(c.Keys)
	if err != nil || p.Certificate == nil {
		return nil, false
	}
	now := a.options.Now()
	if now.Before(p.Certificate.NotBefore) || now.After(p.Certificate.NotAfter) {
		return nil, false
	}
	return nil, slices.ContainsFunc(certs, func(der []byte) bool { return bytes.Equal(der, p.Certificate.Raw) })
}

// certificates are the certificates of the keys of a set: the first of each x5c (RFC 7517 §4.7), in DER.
func certificates(keySet string) (certs [][]byte, err error) {
	if len(keySet) > jose.MaxSet {
		return nil, errors.New("key set is too long")
	}
	var set struct {
		Keys []struct {
			Chain []string `json:"x5c"`
		} `json:"keys"`
	}
	if err := json.Unmarshal([]byte(keySet), &set); err != nil {
		return nil, errors.New("not a JWK Set")
	}
	for _, k := range set.Keys {
		if len(k.Chain) == 0 {
			continue
		}
		der, err := base64.StdEncoding.DecodeString(k.Chain[0])
		if err != nil || len(certs) == maxCerts {
			return nil, errors.New("x5c is not standard base64, or there are too many")
		}
		certs = append(certs, der)
	}
	return certs, nil
}
