package main

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// config is what the operator decides: flags come before LATCHKEY_* before the file. settings names its parts.
type config struct {
	Issuer string `toml:"issuer"`
	HTTP   string `toml:"http"`
	CoAP   string `toml:"coap"`
	CoAPS  string `toml:"coaps"`
	DB     string `toml:"db"`
	Admin  string `toml:"admin"`

	AdminRemote bool `toml:"admin_remote"`

	TLSCert       string   `toml:"tls_cert"`
	TLSKey        string   `toml:"tls_key"`
	ACME          []string `toml:"acme"`
	ACMEEmail     string   `toml:"acme_email"`
	ACMEDirectory string   `toml:"acme_directory"`
	ACMECache     string   `toml:"acme_cache"`

	Proxies        []string `toml:"proxies"`
	ProxyCertField string   `toml:"proxy_client_cert_header"`

	ClientCA  string `toml:"client_ca"`
	DPoPNonce bool   `toml:"dpop_nonce"`

	Registration string `toml:"registration"`
	Attesters    string `toml:"attesters"`

	Limits     bool   `toml:"limits"`
	TokenLife  span   `toml:"token_life"`
	LogLevel   string `toml:"log_level"`
	LogFormat  string `toml:"log_format"`
	Drain      span   `toml:"drain"`
	DrainDelay span   `toml:"drain_delay"`

	from map[string]string // by setting: where its value is from; none for the default
}

const (
	defaultHTTP         = "127.0.0.1:8080"
	defaultCoAP         = "127.0.0.1:5683"
	registrationClosed  = "closed"
	registrationInvited = "invited"
	defaultDirectory    = "https://acme-v02.api.letsencrypt.org/directory"
)

func defaults() config {
	return config{
		HTTP: defaultHTTP, CoAP: defaultCoAP, ACMEDirectory: defaultDirectory, ACMECache: "acme",
		Registration: registrationClosed, Limits: true, TokenLife: span(time.Hour), LogLevel: "info", LogFormat: "text", Drain: span(30 * time.Second), from: map[string]string{},
	}
}

// span is a duration as people write it: 30s, 1h.
type span time.Duration

// UnmarshalText refuses numbers without a unit.
func (s *span) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is no time: write it like 30s or 1h", text)
	}
	*s = span(d)
	return nil
}

// MarshalText writes what UnmarshalText reads.
func (s span) MarshalText() ([]byte, error) { return []byte(time.Duration(s).String()), nil }

// setting is one thing to decide. Its name stands in the file, in capitals behind LATCHKEY_ in the environment, and with
// hyphens behind -- on the command line.
type setting struct {
	name  string
	value any // *string, *[]string, *bool or *span, within a config
	means string
}

func (c *config) settings() []setting {
	return []setting{
		{"issuer", &c.Issuer, "the server's public address, by which apps and devices know it (default http://localhost and the HTTP port)"},
		{"http", &c.HTTP, "where to serve HTTP: HTTPS if there is a certificate; without one on loopback, or elsewhere behind declared proxies"},
		{"coap", &c.CoAP, "where to serve CoAP over UDP, protected by OSCORE"},
		{"coaps", &c.CoAPS, "where to serve CoAP over DTLS; nowhere if empty"},
		{"db", &c.DB, "postgres://… instead of the built-in store"},
		{"admin", &c.Admin, "where to serve /healthz, /readyz and /metrics over TCP; always also on admin.sock in the server's folder"},
		{"admin_remote", &c.AdminRemote, "lets admin be an address that other machines reach; it asks for no password"},
		{"tls_cert", &c.TLSCert, "certificate chain for HTTPS, in PEM; read again when it changes"},
		{"tls_key", &c.TLSKey, "private key of tls_cert, in PEM, readable by its owner only"},
		{"acme", &c.ACME, "names to get certificates for by ACME; port 443 must lead here"},
		{"acme_email", &c.ACMEEmail, "where the certificate authority writes to"},
		{"acme_directory", &c.ACMEDirectory, "the certificate authority; using it means agreeing to its terms"},
		{"acme_cache", &c.ACMECache, "folder for ACME's account key and certificates"},
		{"proxies", &c.Proxies, "addresses or networks of the TLS proxies in front; their word on a request's sender is believed, nobody else's"},
		{"proxy_client_cert_header", &c.ProxyCertField, "header in which the proxies put a client's certificate and which they delete from requests; none if empty"},
		{"client_ca", &c.ClientCA, "certificates, in PEM, of who issues those of apps with tls_client_auth; read at the start"},
		{"dpop_nonce", &c.DPoPNonce, "each DPoP proof must hold a nonce that the server gave out a few minutes ago"},
		{"registration", &c.Registration, "closed, or invited: who has an invitation (latchkey client invite) may register an app over HTTP"},
		{"attesters", &c.Attesters, "file with those who may vouch for app instances (docs/attestation.md); nobody may if empty"},
		{"limits", &c.Limits, "slows down who asks too often or guesses wrong; false only behind something that does it"},
		{"token_life", &c.TokenLife, "how long tokens live for devices with a clock, at most 1h"},
		{"log_level", &c.LogLevel, "least important lines to log: debug, info, warn or error"},
		{"log_format", &c.LogFormat, "text or json"},
		{"drain", &c.Drain, "how long running requests may take to finish after SIGTERM"},
		{"drain_delay", &c.DrainDelay, "how long /readyz says 503 before the doors close, for a load balancer to notice"},
	}
}

func (s setting) variable() string { return "LATCHKEY_" + strings.ToUpper(s.name) }

func (s setting) flag() string { return strings.ReplaceAll(s.name, "_", "-") }

// set takes a value from the environment or the command line; a list is parted by commas.
func (s setting) set(text string) error {
	switch to := s.value.(type) {
	case *string:
		*to = text
	case *[]string:
		*to = nil
		for part := range strings.SplitSeq(text, ",") {
			if part = strings.TrimSpace(part); part != "" {
				*to = append(*to, part)
			}
		}
	case *bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		*to = b
	case *span:
		return to.UnmarshalText([]byte(text))
	}
	return nil
}

// text is the value for people; a password in it is left out.
func (s setting) text() string {
	switch v := s.value.(type) {
	case *string:
		if s.name == "db" {
			return withoutPassword(*v)
		}
		return *v
	case *[]string:
		return strings.Join(*v, ",")
	case *bool:
		return strconv.FormatBool(*v)
	case *span:
		return time.Duration(*v).String()
	}
	return ""
}

func withoutPassword(db string) string {
	if !hasPassword(db) {
		return db
	}
	u, err := url.Parse(db)
	if err != nil || u.Host == "" {
		return "[redacted]"
	}
	_, has := u.User.Password()
	if q := u.Query(); q.Has("password") || strings.Count(db, "password=") > 0 {
		u.RawQuery = "[redacted]"
	}
	if !has {
		return u.String()
	}
	user := url.UserPassword(u.User.Username(), "redacted")
	u.User = user
	return u.String()
}

// near finds the name that was probably meant, "" if none is close: one with at most two letters wrong, and at most half.
func near(wrong string, names []string) string {
	best, least := "", min(2, len(wrong)/2)+1
	for _, name := range names {
		if d := distance(strings.ToLower(wrong), strings.ToLower(name)); d < least {
			best, least = name, d
		}
	}
	return best
}

// distance counts the letters to insert, delete or replace to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost++
			}
			before = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func settingNames(of func(setting) string) []string {
	var names []string
	for _, s := range new(config).settings() {
		names = append(names, of(s))
	}
	slices.Sort(names)
	return names
}

// unknown says that there is no such setting, and which one may be meant.
func unknown(kind, name string, names []string) error {
	if n := near(name, names); n != "" {
		return fmt.Errorf("unknown %s %s; did you mean %s?", kind, name, n)
	}
	return fmt.Errorf("unknown %s %s; there are %s", kind, name, strings.Join(names, ", "))
}
