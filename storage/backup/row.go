package backup

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

// A row is a JSON array. Numbers are integers, texts are texts, and bytes are an array of one text in base64, because an
// engine tells bytes from text where JSON does not.

func appendRow(line []byte, values []any) ([]byte, error) {
	line = append(line, '[')
	for i, value := range values {
		if i > 0 {
			line = append(line, ',')
		}
		switch v := value.(type) {
		case nil:
			line = append(line, "null"...)
		case int64:
			line = strconv.AppendInt(line, v, 10)
		case []byte:
			line = append(line, `["`...)
			line = base64.StdEncoding.AppendEncode(line, v)
			line = append(line, `"]`...)
		case string:
			if !utf8.ValidString(v) {
				return nil, errors.New("text that is not UTF-8")
			}
			quoted, err := json.Marshal(v)
			if err != nil {
				return nil, err
			}
			line = append(line, quoted...)
		default:
			return nil, fmt.Errorf("a value of type %T", value)
		}
	}
	return append(line, ']', '\n'), nil
}

// parseRow reads what appendRow wrote. Bytes are never nil.
func parseRow(line []byte) ([]any, error) {
	var raw []json.RawMessage
	if err := json.Unmarshal(line, &raw); err != nil {
		return nil, fmt.Errorf("row: %w", err)
	}
	if len(raw) > maxColumns {
		return nil, fmt.Errorf("a row of %d values", len(raw))
	}
	values := make([]any, len(raw))
	for i, r := range raw {
		value, err := parseValue(r)
		if err != nil {
			return nil, fmt.Errorf("row: %w", err)
		}
		values[i] = value
	}
	return values, nil
}

func parseValue(r json.RawMessage) (any, error) {
	switch r[0] {
	case 'n':
		return nil, nil
	case '"':
		var text string
		err := json.Unmarshal(r, &text)
		return text, err
	case '[':
		var one []string
		if err := json.Unmarshal(r, &one); err != nil || len(one) != 1 {
			return nil, errors.New("bytes are an array of one text")
		}
		data, err := base64.StdEncoding.Strict().AppendDecode([]byte{}, []byte(one[0]))
		return data, err
	}
	return strconv.ParseInt(string(r), 10, 64)
}

// strict reads one JSON object without members that nobody knows.
func strict(line []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one value in a line")
	}
	return nil
}
