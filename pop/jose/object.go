package jose

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

var (
	errNotObject = errors.New("not a JSON object")
	errNotText   = errors.New("not a string")
	errNotNumber = errors.New("not an integer within its bounds")
	errNotBytes  = errors.New("not unpadded base64url within its bounds")
	errUTF8      = errors.New("not valid UTF-8")
)

// member is one name and its value; a nil value is left out.
type member struct {
	name  name
	value any
}

// encode writes an object in the order of its members. A name outside of the table is refused.
func (t table) encode(members ...member) (json.RawMessage, error) {
	var out bytes.Buffer
	values := json.NewEncoder(&out)
	values.SetEscapeHTML(false)
	out.WriteByte('{')
	for _, m := range members {
		if m.value == nil {
			continue
		}
		if !t[m.name] {
			return nil, fmt.Errorf("name %q is not in its table", m.name)
		}
		if s, ok := m.value.(string); ok && !utf8.ValidString(s) {
			return nil, fmt.Errorf("%s: %w", m.name, errUTF8) // U+FFFD instead would be another name than was checked
		}
		if out.Len() > 1 {
			out.WriteByte(',')
		}
		out.WriteString(`"` + string(m.name) + `":`)
		if err := values.Encode(m.value); err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
		out.Truncate(out.Len() - 1) // the encoder ends each value with a line break
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// object is a decoded JSON object with its values still encoded. Names compare exactly, unlike in Go struct tags.
type object map[name]json.RawMessage

// parse reads one object. Duplicate names at any level, invalid UTF-8, nesting beyond maxDepth and bytes after the
// object are refused (RFC 7519 §4, RFC 8725 §2.4).
func parse(data []byte) (object, error) {
	if !utf8.Valid(data) {
		return nil, errUTF8
	}
	var o object
	if err := json.Unmarshal(data, &o); err != nil || o == nil {
		return nil, errNotObject // the decoder's words could hold a piece of a secret
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return o, walk(d, maxDepth)
}

// parseOnly is parse for objects whose other names are refused.
func (t table) parseOnly(data []byte) (object, error) {
	o, err := parse(data)
	if err != nil {
		return nil, err
	}
	for n := range o {
		if !t[n] {
			return nil, fmt.Errorf("member %.32q is not allowed", n)
		}
	}
	return o, nil
}

// walk reads one value that is known to be well formed and looks for duplicate names.
func walk(d *json.Decoder, depth int) error {
	token, err := d.Token()
	if err != nil {
		return errNotObject
	}
	open, nested := token.(json.Delim)
	if !nested {
		return nil
	}
	if depth == 0 {
		return fmt.Errorf("nested deeper than %d", maxDepth)
	}
	seen := make(map[string]bool)
	for d.More() {
		if open == '{' {
			key, err := d.Token()
			if err != nil {
				return errNotObject
			}
			text, _ := key.(string)
			if seen[text] {
				return fmt.Errorf("member %.32q is there twice", text)
			}
			seen[text] = true
		}
		if err := walk(d, depth-1); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

// text is a string of 1 to limit bytes, "" if the member is absent.
func (o object) text(n name, limit int) (string, error) {
	raw, ok := o[n]
	if !ok {
		return "", nil
	}
	var s string
	if raw[0] != '"' || json.Unmarshal(raw, &s) != nil || s == "" || len(s) > limit {
		return "", fmt.Errorf("%s: %w of 1 to %d bytes", n, errNotText, limit)
	}
	return s, nil
}

// number is an integer from 1 to limit, 0 if the member is absent. Fractions and exponents are refused.
func (o object) number(n name, limit uint64) (uint64, error) {
	raw, ok := o[n]
	if !ok {
		return 0, nil
	}
	v, err := parseNumber(raw, limit)
	if err != nil || v == 0 {
		return 0, fmt.Errorf("%s: %w", n, errNotNumber)
	}
	return v, nil
}

func parseNumber(raw json.RawMessage, limit uint64) (uint64, error) {
	v, err := strconv.ParseUint(string(raw), 10, 64)
	if err != nil || v > limit {
		return 0, errNotNumber
	}
	return v, nil
}

// bytes is a base64url string of low to high bytes, nil if the member is absent.
func (o object) bytes(n name, low, high int) ([]byte, error) {
	raw, ok := o[n]
	if !ok {
		return nil, nil
	}
	var s string
	if raw[0] != '"' || json.Unmarshal(raw, &s) != nil {
		return nil, fmt.Errorf("%s: %w", n, errNotBytes)
	}
	b, err := decode64(s)
	if err != nil || len(b) < low || len(b) > high {
		return nil, fmt.Errorf("%s: %w", n, errNotBytes)
	}
	return b, nil
}

func encode64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// decode64 takes exactly what encode64 writes. The standard decoder skips line breaks and, unless strict, ignores spare
// bits: each would give one token several spellings, and so several hashes to revoke.
func decode64(s string) ([]byte, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(s) != base64.RawURLEncoding.EncodedLen(len(b)) {
		return nil, errNotBytes
	}
	return b, nil
}
