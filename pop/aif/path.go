package aif

import (
	"errors"
	"fmt"
	"strings"
)

var (
	errSegment = errors.New("a segment is empty")
	errDots    = errors.New("segments . and .. are relative")
)

// CheckPath says why a path cannot stand in an entry, or nil. A path is absolute and may carry a query. It is compared
// byte by byte: there is no percent-decoding, no case folding and no prefix rule. So it must be in the one spelling
// that Local gives a request; "//", ".", "..", a closing "/", and a percent-encoding of what needs none or in lower
// case are refused, because a right spelled so would look good and never match.
func CheckPath(path string) error {
	if len(path) > MaxPath {
		return fmt.Errorf("path of %d bytes, at most %d", len(path), MaxPath)
	}
	if !strings.HasPrefix(path, "/") {
		return fmt.Errorf("path %q does not begin with /", path)
	}
	local, query, _ := strings.Cut(path[1:], "?")
	if local != "" {
		for segment := range strings.SplitSeq(local, "/") {
			if err := checkSegment(segment); err != nil {
				return fmt.Errorf("path %q: %w", path, err)
			}
		}
	}
	for argument := range strings.SplitSeq(query, "&") {
		if err := checkSpelling(argument, inArgument); err != nil {
			return fmt.Errorf("path %q: query: %w", path, err)
		}
	}
	return nil
}

func checkSegment(segment string) error {
	switch {
	case segment == "":
		return errSegment
	case relative(segment):
		return errDots
	}
	return checkSpelling(segment, inSegment)
}

// checkSpelling demands that s is what spell makes of some value.
func checkSpelling(s string, stands func(byte) bool) error {
	for i := 0; i < len(s); i++ {
		if stands(s[i]) {
			continue
		}
		if s[i] != '%' {
			return fmt.Errorf("byte 0x%02x needs another spelling: %%%02X", s[i], s[i])
		}
		if i+2 >= len(s) {
			return errors.New("cut percent-encoding")
		}
		value, ok := unhex(s[i+1], s[i+2])
		if !ok || stands(value) {
			return fmt.Errorf("percent-encoding %.3q has another spelling", s[i:])
		}
		i += 2
	}
	return nil
}

// unhex takes upper case only (RFC 3986 §6.2.2.1).
func unhex(high, low byte) (byte, bool) {
	const digits = "0123456789ABCDEF"
	h, l := strings.IndexByte(digits, high), strings.IndexByte(digits, low)
	return byte(h<<4 | l&15), h >= 0 && l >= 0
}
