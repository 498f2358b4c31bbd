package main

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
)

var (
	hostForm   = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]([a-z0-9-]*[a-z0-9])?$`)
	headerForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]*$`)
)

// check finds what would be unsafe or would not work, in the order of the settings.
func (c *config) check() []error {
	var errs []error
	for _, rule := range []func() error{
		c.checkIssuer, c.checkHTTP, c.checkCoAP, c.checkAdmin, c.checkCertificate, c.checkACME, c.checkProxies, c.checkRegistration, c.checkTimes, c.checkLog,
	} {
		if err := rule(); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// tls: the server has a certificate of its own.
func (c *config) tls() bool { return c.TLSCert != "" || c.TLSKey != "" || len(c.ACME) > 0 }

// secure: people and apps come by https, here or at the proxy.
func (c *config) secure() bool { return strings.HasPrefix(c.Issuer, "https:") }

func (c *config) checkIssuer() error {
	u, err := url.Parse(c.Issuer)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("issuer %q: give an address like http://localhost:8080", c.Issuer)
	}
	if strings.HasSuffix(c.Issuer, "/") {
		return fmt.Errorf("issuer %q: leave out the / at the end", c.Issuer)
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return fmt.Errorf("issuer %q: http is for this machine only; give the https address", c.Issuer)
	}
	if u.Scheme == "http" && c.tls() {
		return fmt.Errorf("issuer %q: this server has a certificate, so its address begins with https", c.Issuer)
	}
	return nil
}

func (c *config) checkHTTP() error {
	host, port, err := net.SplitHostPort(c.HTTP)
	if err != nil {
		return fmt.Errorf("http %q: give an address like 127.0.0.1:8080", c.HTTP)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("http %q: give a fixed port; the issuer is known by it", c.HTTP)
	}
	if !loopback(host) && !c.tls() && len(c.Proxies) == 0 {
		return fmt.Errorf("http %q: plain HTTP is served on loopback only; give tls_cert and tls_key, or acme, or declare the TLS proxy in front in proxies", c.HTTP)
	}
	return nil
}

func (c *config) checkCoAP() error {
	for name, address := range map[string]string{"coap": c.CoAP, "coaps": c.CoAPS} {
		if name == "coaps" && address == "" {
			continue
		}
		if a, err := netip.ParseAddrPort(address); err != nil || a.Port() == 0 {
			return fmt.Errorf("%s %q: give an address like 127.0.0.1:5683", name, address)
		}
	}
	if c.CoAP == c.CoAPS {
		return fmt.Errorf("coaps %q: coap is there; give another port, usually 5684", c.CoAPS)
	}
	return nil
}

func (c *config) checkAdmin() error {
	if c.Admin == "" {
		return nil
	}
	a, err := netip.ParseAddrPort(c.Admin)
	if err != nil || a.Port() == 0 {
		return fmt.Errorf("admin %q: give an address like 127.0.0.1:9090", c.Admin)
	}
	if !a.Addr().Unmap().IsLoopback() && !c.AdminRemote {
		return fmt.Errorf("admin %q: it asks for no password, so it is served on loopback; say admin_remote = true if a firewall keeps strangers out", c.Admin)
	}
	if c.Admin == c.HTTP {
		return fmt.Errorf("admin %q: http is there; give another port", c.Admin)
	}
	return nil
}

func (c *config) checkCertificate() error {
	switch {
	case c.TLSCert != "" && len(c.ACME) > 0:
		return fmt.Errorf("tls_cert and acme: one of them is enough")
	case c.TLSCert != "" && c.TLSKey == "":
		return fmt.Errorf("tls_key is missing: the private key of %s", c.TLSCert)
	case c.TLSKey != "" && c.TLSCert == "":
		return fmt.Errorf("tls_cert is missing: the certificate of %s", c.TLSKey)
	case c.ClientCA != "" && !c.tls() && c.ProxyCertField == "":
		return fmt.Errorf("client_ca %s: no app can show a certificate here; give tls_cert and tls_key, or acme, or proxy_client_cert_header", c.ClientCA)
	}
	return nil
}

func (c *config) checkACME() error {
	if len(c.ACME) == 0 {
		return nil
	}
	for _, name := range c.ACME {
		if !hostForm.MatchString(name) {
			return fmt.Errorf("acme %q: give names like home.example, in small letters; addresses and wildcards get no certificate", name)
		}
	}
	u, err := url.Parse(c.Issuer)
	if err != nil {
		return fmt.Errorf("issuer %q: give an address like https://%s", c.Issuer, c.ACME[0])
	}
	if !slices.ContainsFunc(c.ACME, func(name string) bool { return strings.EqualFold(name, u.Hostname()) }) {
		return fmt.Errorf("acme %s: the issuer's own name %q is missing", strings.Join(c.ACME, ", "), u.Hostname())
	}
	if d, err := url.Parse(c.ACMEDirectory); err != nil || d.Scheme != "https" || d.Host == "" {
		return fmt.Errorf("acme_directory %q: give an address like %s", c.ACMEDirectory, defaultDirectory)
	}
	if c.ACMEEmail != "" && !strings.Contains(c.ACMEEmail, "@") {
		return fmt.Errorf("acme_email %q: give an address like admin@%s", c.ACMEEmail, c.ACME[0])
	}
	if c.ACMECache == "" {
		return fmt.Errorf("acme_cache: give a folder; without one each start would ask for new certificates")
	}
	return nil
}

func (c *config) checkProxies() error {
	trusted, err := c.trusted()
	if err != nil {
		return err
	}
	host, _, _ := net.SplitHostPort(c.HTTP) // checked
	local := netip.MustParsePrefix("127.0.0.0/8")
	if len(trusted) > 0 && loopback(host) && !slices.ContainsFunc(trusted, func(p netip.Prefix) bool {
		return p.Overlaps(local) || p.Contains(netip.IPv6Loopback())
	}) {
		return fmt.Errorf("proxies %s: http is on loopback, where none of them comes from", strings.Join(c.Proxies, ", "))
	}
	if c.ProxyCertField == "" {
		return nil
	}
	if len(trusted) == 0 {
		return fmt.Errorf("proxy_client_cert_header: only a declared proxy is believed; name it in proxies")
	}
	name := http.CanonicalHeaderKey(c.ProxyCertField)
	if !headerForm.MatchString(name) || slices.Contains([]string{"Authorization", "Cookie", "Host", "Dpop", "Forwarded", "X-Forwarded-For"}, name) {
		return fmt.Errorf("proxy_client_cert_header %q: give the name of a header of its own, like Client-Cert", c.ProxyCertField)
	}
	return nil
}

// trusted are the networks of the declared proxies.
func (c *config) trusted() ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, text := range c.Proxies {
		p, err := netip.ParsePrefix(text)
		if a, err2 := netip.ParseAddr(text); err2 == nil && a.Zone() == "" {
			a = a.Unmap()
			p, err = a.Prefix(a.BitLen())
		}
		if err != nil || p.Addr().Is4In6() {
			return nil, fmt.Errorf("proxies %q: give an address like 10.0.0.5 or a network like 10.0.0.0/24", text)
		}
		if p.Bits() < 8 {
			return nil, fmt.Errorf("proxies %q: that is nearly everybody, and all of them would be believed", text)
		}
		all = append(all, p.Masked())
	}
	return all, nil
}

func (c *config) checkRegistration() error {
	if c.Registration != registrationClosed && c.Registration != registrationInvited {
		return fmt.Errorf("registration %q: there are %s and %s", c.Registration, registrationClosed, registrationInvited)
	}
	return nil
}

func (c *config) checkTimes() error {
	for _, s := range []struct {
		name            string
		value           span
		shortest, limit time.Duration
	}{
		{"token_life", c.TokenLife, shortestLife, authz.TokenLife},
		{"drain", c.Drain, 0, longestDrain},
		{"drain_delay", c.DrainDelay, 0, longestDelay},
	} {
		if d := time.Duration(s.value); d < s.shortest || d > s.limit {
			return fmt.Errorf("%s %v: give %v to %v", s.name, d, s.shortest, s.limit)
		}
	}
	return nil
}

func (c *config) checkLog() error {
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.LogLevel) {
		return fmt.Errorf("log_level %q: there are debug, info, warn and error", c.LogLevel)
	}
	if !slices.Contains([]string{"text", "json"}, c.LogFormat) {
		return fmt.Errorf("log_format %q: there are text and json", c.LogFormat)
	}
	return nil
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.Unmap().IsLoopback()
}

// coapURI is where devices call the server. A socket on all addresses has none of its own; the issuer's name has.
func (c *config) coapURI() string {
	a := netip.MustParseAddrPort(c.CoAP) // checked
	u, err := url.Parse(c.Issuer)
	if err != nil || !a.Addr().IsUnspecified() {
		return "coap://" + c.CoAP
	}
	return "coap://" + net.JoinHostPort(u.Hostname(), strconv.Itoa(int(a.Port())))
}
