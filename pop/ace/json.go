package ace

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

var errNotObject = errors.New("not a JSON object")

// ParseObject reads one JSON object of at most MaxMessage bytes, for messages of OAuth that have no form in CBOR: strictly, as
// every JSON is read here.
func ParseObject(data []byte) (map[string]json.RawMessage, error) { return parseObject(data) }

// parseObject reads one JSON object. The standard decoder lets the last of two equal names win and mends broken
// UTF-8: both would let two readers of one request see two requests, so both are refused, at every level.
func parseObject(data []byte) (map[string]json.RawMessage, error) {
	if len(data) > MaxMessage {
		return nil, tooLong(len(data), MaxMessage)
	}
	if !utf8.Valid(data) {
		return nil, errors.New("not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if err := scan(dec, 0); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("bytes after the JSON object")
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil || members == nil {
		return nil, errNotObject
	}
	return members, nil
}

// scan walks over one value.
func scan(dec *json.Decoder, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("more than %d levels", maxDepth)
	}
	token, err := dec.Token()
	if err != nil {
		return errNotObject
	}
	switch token {
	case json.Delim('{'):
		return scanObject(dec, depth)
	case json.Delim('['):
		for dec.More() {
			if err := scan(dec, depth+1); err != nil {
				return err
			}
		}
		return closing(dec)
	}
	return nil
}

func scanObject(dec *json.Decoder, depth int) error {
	seen := make(map[string]bool)
	for dec.More() {
		token, err := dec.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return errNotObject
		}
		if seen[name] {
			return errors.New("a member stands twice")
		}
		seen[name] = true
		if err := scan(dec, depth+1); err != nil {
			return err
		}
	}
	return closing(dec)
}

func closing(dec *json.Decoder) error {
	if _, err := dec.Token(); err != nil {
		return errNotObject
	}
	return nil
}

func jsonText(raw json.RawMessage) (string, error) {
	if len(raw) == 0 || raw[0] != '"' {
		return "", errors.New("not a string")
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", errors.New("not a string")
	}
	return s, nil
}

func jsonBytes(raw json.RawMessage) ([]byte, error) {
	s, err := jsonText(raw)
	if err != nil {
		return nil, err
	}
	return decode64(s)
}

// decode64 reads unpadded base64url in its one canonical spelling.
func decode64(s string) ([]byte, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || encode64(b) != s { // the decoder skips line ends
		return nil, errors.New("not unpadded base64url")
	}
	return b, nil
}

func encode64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
