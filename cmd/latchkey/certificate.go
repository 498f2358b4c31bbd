package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// certificates is where HTTPS has its certificate from. It is safe for concurrent use.
type certificates struct {
	tls    *tls.Config
	warm   func() error // gets what is missing; nil if nothing can be
	mu     sync.Mutex
	expiry time.Time
}

// Expiry is the end of the certificate that was used last; zero before there was one.
func (c *certificates) Expiry() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.expiry
}

// newCertificates takes them from files or by ACME; nil for a server without HTTPS.
func newCertificates(dir string, c config, log *slog.Logger) (*certificates, error) {
	switch {
	case c.TLSCert != "":
		return fromFiles(within(dir, c.TLSCert), within(dir, c.TLSKey), log)
	case len(c.ACME) > 0:
		return fromACME(dir, c, nil), nil
	}
	return nil, nil
}

// base is what both ways share. Clients may show a certificate, and it is not verified here: which one a client must show
// stands in its registration (RFC 8705 §3).
func (c *certificates) base(base *tls.Config, get func(*tls.ClientHelloInfo) (*tls.Certificate, error)) {
	base.MinVersion, base.ClientAuth = tls.VersionTLS12, tls.RequestClientCert
	base.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		found, err := get(hello)
		if err == nil && found.Leaf != nil {
			c.mu.Lock()
			c.expiry = found.Leaf.NotAfter
			c.mu.Unlock()
		}
		return found, err
	}
	c.tls = base
}

// fromACME asks the certificate authority for what the folder does not hold, and renews in time. A nil client is the usual
// one.
func fromACME(dir string, c config, client *http.Client) *certificates {
	m := &autocert.Manager{
		Prompt: autocert.AcceptTOS, Cache: autocert.DirCache(within(dir, c.ACMECache)), Email: c.ACMEEmail,
		HostPolicy: autocert.HostWhitelist(c.ACME...), Client: &acme.Client{DirectoryURL: c.ACMEDirectory, UserAgent: "latchkey", HTTPClient: client},
	}
	out := &certificates{}
	out.base(m.TLSConfig(), m.GetCertificate)
	// As a client of today would ask: the first real one then need not wait for the authority.
	out.warm = func() error {
		var errs []error
		for _, name := range c.ACME {
			_, err := out.tls.GetCertificate(&tls.ClientHelloInfo{
				ServerName: name, CipherSuites: []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
				SupportedCurves: []tls.CurveID{tls.CurveP256}, SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
			})
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}
	return out
}

// pair is a certificate and key in two files, read again when they change. A new pair that cannot be used leaves the old
// one in place: somebody may be in the middle of writing it.
type pair struct {
	cert, key string
	log       *slog.Logger

	mu     sync.Mutex
	now    *tls.Certificate
	loaded stamp // of the files that now was read from
	failed stamp // of the files that could not be used, to complain once
}

// stamp changes when a file is written, replaced or opened to others.
type stamp struct{ cert, key mark }

type mark struct {
	at   time.Time
	size int64
	mode os.FileMode
}

func markOf(f os.FileInfo) mark { return mark{f.ModTime(), f.Size(), f.Mode()} }

func fromFiles(cert, key string, log *slog.Logger) (*certificates, error) {
	p := &pair{cert: cert, key: key, log: log}
	seen, err := p.stamp()
	if err != nil {
		return nil, err
	}
	if p.now, err = loadPair(cert, key); err != nil {
		return nil, err
	}
	p.loaded = seen
	out := &certificates{expiry: p.now.Leaf.NotAfter}
	out.base(&tls.Config{}, p.get)
	return out, nil
}

func (p *pair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	seen, err := p.stamp()
	if err != nil || seen == p.loaded || seen == p.failed {
		return p.now, nil
	}
	fresh, err := loadPair(p.cert, p.key)
	if err != nil {
		p.failed = seen
		p.log.Warn("the new certificate cannot be used; the old one stays", "err", err)
		return p.now, nil
	}
	p.now, p.loaded = fresh, seen
	p.log.Info("new certificate", "ends", fresh.Leaf.NotAfter)
	return p.now, nil
}

func (p *pair) stamp() (s stamp, err error) {
	cert, err := os.Stat(p.cert)
	if err != nil {
		return s, fmt.Errorf("tls_cert: %w", err)
	}
	key, err := os.Stat(p.key)
	if err != nil {
		return s, fmt.Errorf("tls_key: %w", err)
	}
	return stamp{markOf(cert), markOf(key)}, nil
}

// loadPair refuses a key that others can read: it may be known.
func loadPair(cert, key string) (*tls.Certificate, error) {
	info, err := os.Stat(key)
	if err != nil {
		return nil, fmt.Errorf("tls_key: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("tls_key: %s can be read by others (mode %04o): run chmod 600 %s", key, mode, key)
	}
	certText, err := os.ReadFile(cert)
	if err != nil {
		return nil, fmt.Errorf("tls_cert: %w", err)
	}
	keyText, err := os.ReadFile(key)
	if err != nil {
		return nil, fmt.Errorf("tls_key: %w", err)
	}
	both, err := tls.X509KeyPair(certText, keyText)
	if err != nil {
		return nil, fmt.Errorf("tls_cert %s with tls_key %s: %w", cert, key, err)
	}
	if both.Leaf == nil {
		both.Leaf, err = x509.ParseCertificate(both.Certificate[0])
	}
	return &both, err
}

// urgency tells how soon a certificate must be replaced: "" later, "soon" within 30 days, "now" within 14, "late" within 3.
func urgency(expiry, now time.Time) string {
	const day = 24 * time.Hour
	switch left := expiry.Sub(now); {
	case left <= 3*day:
		return "late"
	case left <= 14*day:
		return "now"
	case left <= 30*day:
		return "soon"
	}
	return ""
}

// watch logs when the certificate must be replaced soon, once for each level of urgency. It ends with ctx.
func (c *certificates) watch(ctx context.Context, log *slog.Logger) error {
	if c.warm != nil {
		go func() { // the library waits for minutes, whatever ctx says
			if err := c.warm(); err != nil {
				log.Warn("no certificate from the authority yet; the next visitor asks again", "err", err)
			}
		}()
	}
	said := ""
	for {
		if level := urgency(c.Expiry(), time.Now()); level != said && !c.Expiry().IsZero() {
			if said = level; level != "" {
				log.Warn("the certificate ends soon", "ends", c.Expiry(), "left", time.Until(c.Expiry()).Round(time.Hour))
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(certificateCheck):
		}
	}
}
