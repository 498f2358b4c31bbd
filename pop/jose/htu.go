package jose

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

var errURL = errors.New("not an http or https URL of printable ASCII without user")

// targetOf gives the form in which two htu are compared (RFC 9449 §4.3, RFC 3986 §6.2.2 and §6.2.3): scheme and host in
// lower case, no default port, an empty path as "/", unreserved characters not escaped, no query and no fragment. Dot segments
// stay: a server that resolves them must not take a proof for another path.
func targetOf(raw string) (string, error) {
	if raw == "" || len(raw) > maxForeignText || !printable(raw) {
		return "", errURL
	}
	u, err := url.Parse(raw)
	if err != nil || u.User != nil || u.Opaque != "" {
		return "", errURL // the parser's words would repeat the URL, with what may be secret in it
	}
	scheme, host, port := strings.ToLower(u.Scheme), strings.ToLower(u.Hostname()), u.Port()
	if host == "" || !printable(u.Host) || strings.Contains(host, "%") || scheme != "https" && scheme != "http" {
		return "", errURL
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port != "" && port != map[string]string{"http": "80", "https": "443"}[scheme] {
		host += ":" + port
	}
	path := u.RawPath // EscapedPath writes anew, with %2F as /, what holds a character that should have been escaped
	if path == "" {
		path = u.EscapedPath()
	}
	if path = plainEscapes(path); path == "" {
		path = "/"
	}
	return fmt.Sprintf("%s://%s%s", scheme, host, path), nil
}

// plainEscapes decodes percent-encoded unreserved characters and writes the others in upper case (RFC 3986 §6.2.2).
func plainEscapes(path string) string {
	if !strings.Contains(path, "%") {
		return path
	}
	var out strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] != '%' || i+2 >= len(path) {
			out.WriteByte(path[i])
			continue
		}
		c := unhexDigit(path[i+1])<<4 | unhexDigit(path[i+2])
		if isUnreserved(c) {
			out.WriteByte(c)
		} else {
			out.WriteString(strings.ToUpper(path[i : i+3]))
		}
		i += 2
	}
	return out.String()
}

// unhexDigit reads a digit that a parser has found to be one.
func unhexDigit(c byte) byte {
	switch {
	case c >= 'a':
		return c - 'a' + 10
	case c >= 'A':
		return c - 'A' + 10
	}
	return c - '0'
}

func isUnreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0
}
