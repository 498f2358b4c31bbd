package jose

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

var (
	errNotObject = errors.New("not a JSON object")
	errNotText   = errors.New("not a string")
	errNotTexts  = errors.New("neither a string nor a list of few different strings")
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

// parse reads one object of ours.
func parse(data []byte) (object, error) { return parseTo(data, maxDepth) }

// parseTo reads one object. Duplicate names at any level, invalid UTF-8, nesting beyond depth and bytes after the object
// are refused (RFC 7519 §4, RFC 8725 §2.4).
func parseTo(data []byte, depth int) (object, error) {
	switch {
	case !utf8.Valid(data):
		return nil, errUTF8
	case !json.Valid(data):
		return nil, errNotObject // the decoder's words could hold a piece of a secret
	}
	w := walker{rest: data}
	w.space()
	if w.rest[0] != '{' {
		return nil, errNotObject
	}
	return w.object(depth)
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

// text is a string of 1 to limit bytes, "" if the member is absent.
func (o object) text(n name, limit int) (string, error) {
	raw, ok := o[n]
	if !ok {
		return "", nil
	}
	s, err := unquote(raw)
	if err != nil || s == "" || len(s) > limit {
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

// date is a NumericDate (RFC 7519 §2), the zero time if the member is absent. round takes the stricter second.
func (o object) date(n name, round func(float64) float64) (time.Time, error) {
	raw, ok := o[n]
	if !ok {
		return time.Time{}, nil
	}
	if v, err := parseNumber(raw, maxDate); err == nil {
		return time.Unix(int64(v), 0), nil
	}
	v, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || !(v >= 0 && v <= maxDate) {
		return time.Time{}, fmt.Errorf("%s: %w", n, errNotNumber)
	}
	return time.Unix(int64(round(v)), 0), nil
}

// texts is a string or an array of 1 to count different strings, nil if the member is absent (RFC 7519 §4.1.3).
func (o object) texts(n name, limit, count int) ([]string, error) {
	raw, ok := o[n]
	if !ok {
		return nil, nil
	}
	if raw[0] == '"' {
		one, err := o.text(n, limit)
		return []string{one}, err
	}
	var items []json.RawMessage
	if json.Unmarshal(raw, &items) != nil || len(items) == 0 || len(items) > count {
		return nil, fmt.Errorf("%s: %w", n, errNotTexts)
	}
	list := make([]string, 0, len(items))
	for _, item := range items {
		one, err := object{n: item}.text(n, limit)
		if err != nil || slices.Contains(list, one) {
			return nil, fmt.Errorf("%s: %w", n, errNotTexts)
		}
		list = append(list, one)
	}
	return list, nil
}

// bytes is a base64url string of low to high bytes, nil if the member is absent.
func (o object) bytes(n name, low, high int) ([]byte, error) {
	raw, ok := o[n]
	if !ok {
		return nil, nil
	}
	s, err := unquote(raw)
	if err != nil {
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
