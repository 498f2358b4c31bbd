package aif

import (
	"strings"

	"github.com/plgd-dev/go-coap/v3/message"
)

// Local is what a CoAP request asks for, in the one spelling in which a right can name it: Uri-Path, "?" and the
// Uri-Query arguments joined by "&", each percent-encoded where it must be and nowhere else (RFC 7252 §6.5). A "/" or
// "?" inside a path option and a "&" inside a query option stay distinct from the separators, so no two requests share
// a spelling. ok is false if a path option is empty, "." or "..", which no right can name.
func Local(options message.Options) (local string, ok bool) {
	var path, query []byte
	for _, o := range options {
		switch o.ID {
		case message.URIPath:
			if relative(string(o.Value)) {
				return "", false
			}
			path = spell(append(path, '/'), o.Value, inSegment)
		case message.URIQuery:
			separator := byte('&')
			if query == nil {
				separator = '?'
			}
			query = spell(append(query, separator), o.Value, inArgument)
		}
	}
	if path == nil {
		path = []byte{'/'}
	}
	return string(append(path, query...)), true
}

// spell appends value, with every byte that does not stand for itself as %XX.
func spell(dst, value []byte, stands func(byte) bool) []byte {
	const digits = "0123456789ABCDEF"
	for _, c := range value {
		if stands(c) {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', digits[c>>4], digits[c&15])
		}
	}
	return dst
}

// inSegment holds for pchar of RFC 3986 §3.3.
func inSegment(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~!$&'()*+,;=:@", c) >= 0
}

// inArgument is RFC 7252 §6.5 step 8: a query argument may hold "/" and "?", but "&" parts it from the next.
func inArgument(c byte) bool {
	return c != '&' && inSegment(c) || c == '/' || c == '?'
}

func relative(segment string) bool { return segment == "" || segment == "." || segment == ".." }
