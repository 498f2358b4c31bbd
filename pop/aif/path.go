package aif

import (
	"errors"
	"fmt"
	"strings"
)

// CheckPath says why a path cannot stand in an entry, or nil. A path is absolute and may carry a query. It is compared
// byte by byte: there is no percent-decoding, no case folding and no prefix rule, so spellings that a request could
// reach in two ways ("//", ".", "..", a closing "/") are refused.
func CheckPath(path string) error {
	if len(path) > MaxPath {
		return fmt.Errorf("path of %d bytes, at most %d", len(path), MaxPath)
	}
	if !strings.HasPrefix(path, "/") {
		return fmt.Errorf("path %q does not begin with /", path)
	}
	for i := range len(path) {
		if !pathByte(path[i]) {
			return fmt.Errorf("path %q holds a byte that needs another spelling: 0x%02x", path, path[i])
		}
	}
	local, _, _ := strings.Cut(path, "?")
	if local == "/" {
		return nil
	}
	if err := checkSegments(local); err != nil {
		return fmt.Errorf("path %q: %w", path, err)
	}
	return nil
}

func checkSegments(local string) error {
	for segment := range strings.SplitSeq(local[1:], "/") {
		switch segment {
		case "":
			return errors.New("a segment is empty")
		case ".", "..":
			return errors.New("segments . and .. are relative")
		}
	}
	return nil
}

// pathByte allows the bytes of an OAuth scope word (RFC 6749 §3.3), so that the text form is one, without "#".
func pathByte(c byte) bool {
	return c > ' ' && c < 0x7f && c != '"' && c != '\\' && c != '#'
}
