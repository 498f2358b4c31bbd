package origin

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// maxHops bounds how far back a list of proxies is read; honest ones have two or three.
const maxHops = 16

// plain reads an address as it stands in RemoteAddr, X-Forwarded-For or Forwarded: with or without port, an IPv6 address
// with or without brackets. What is none, such as a hidden identifier, gives the zero Addr.
func plain(text string) netip.Addr {
	if a, err := netip.ParseAddrPort(text); err == nil {
		return a.Addr().Unmap().WithZone("")
	}
	if inner, ok := strings.CutPrefix(text, "["); ok {
		if text, ok = strings.CutSuffix(inner, "]"); !ok {
			return netip.Addr{}
		}
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}

// elements are those of a list, over all its lines (RFC 9110 §5.3).
func elements(lines []string) []string {
	if len(lines) == 0 {
		return nil
	}
	return split(strings.Join(lines, ","), ',')
}

// forwarded gives the for= of each element (RFC 7239 §4), "" where there is none or more than one.
func forwarded(lines []string) []string {
	all := elements(lines)
	for i, element := range all {
		found, times := "", 0
		for _, pair := range split(element, ';') {
			name, value, _ := strings.Cut(pair, "=")
			if strings.EqualFold(name, "for") {
				found, times = unquoted(value), times+1
			}
		}
		if times != 1 {
			found = ""
		}
		all[i] = found
	}
	return all
}

// split parts at sep, but not within quotes, and trims blanks.
func split(s string, sep byte) []string {
	var parts []string
	start, quoted := 0, false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == sep && !quoted:
			parts = append(parts, strings.Trim(s[start:i], " \t"))
			start = i + 1
		}
	}
	return append(parts, strings.Trim(s[start:], " \t"))
}

// unquoted opens a quoted-string. Addresses need no backslash, so a value with one stays unreadable.
func unquoted(s string) string {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		return s[1 : len(s)-1]
	}
	return s
}

// certificate is the one in the header that the operator named. One that is there twice or cannot be read is none: who
// asks for a certificate then refuses.
func (t Trust) certificate(h http.Header) *x509.Certificate {
	values := h.Values(t.CertHeader)
	if t.CertHeader == "" || len(values) != 1 {
		return nil
	}
	c, err := x509.ParseCertificate(der(values[0]))
	if err != nil {
		return nil
	}
	return c
}

// der opens :base64: (RFC 9440 §2.1) or PEM whose special characters are percent-encoded, as nginx writes it.
func der(value string) []byte {
	if inner, ok := strings.CutPrefix(value, ":"); ok {
		inner, ends := strings.CutSuffix(inner, ":")
		raw, err := base64.StdEncoding.Strict().DecodeString(inner)
		if !ends || err != nil {
			return nil
		}
		return raw
	}
	text, err := url.PathUnescape(value)
	if err != nil {
		return nil
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" || len(strings.TrimSpace(string(rest))) > 0 {
		return nil
	}
	return block.Bytes
}
