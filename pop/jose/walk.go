package jose

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// walker goes through JSON that is known to be valid, and looks for what encoding/json lets pass: names that stand twice, and
// depth.
type walker struct {
	rest []byte
}

var errDepth = errors.New("nested too deep")

// object reads an object and leaves its values encoded; they share memory with the text.
func (w *walker) object(depth int) (object, error) {
	o := make(object)
	err := w.list(depth, func() error {
		quoted := w.text()
		n, err := unquote(quoted)
		if err != nil {
			return err
		}
		if _, twice := o[name(n)]; twice {
			return fmt.Errorf("member %.32q is there twice", n)
		}
		w.space()
		w.rest = w.rest[1:] // the colon
		w.space()
		from := w.rest
		if err := w.value(depth - 1); err != nil {
			return err
		}
		o[name(n)] = from[: len(from)-len(w.rest) : len(from)-len(w.rest)]
		return nil
	})
	return o, err
}

// list calls item for each member or element, from after its leading space.
func (w *walker) list(depth int, item func() error) error {
	if depth == 0 {
		return errDepth
	}
	for {
		w.rest = w.rest[1:] // the bracket or comma
		w.space()
		if c := w.rest[0]; c != '}' && c != ']' {
			if err := item(); err != nil {
				return err
			}
			w.space()
		}
		if w.rest[0] != ',' {
			w.rest = w.rest[1:]
			return nil
		}
	}
}

func (w *walker) value(depth int) error {
	switch w.rest[0] {
	case '{':
		_, err := w.object(depth)
		return err
	case '[':
		return w.list(depth, func() error { return w.value(depth - 1) })
	case '"':
		w.text()
		return nil
	}
	end := bytes.IndexAny(w.rest, ",]} \t\r\n")
	if end < 0 {
		end = len(w.rest)
	}
	w.rest = w.rest[end:]
	return nil
}

// text reads a string with its quotes.
func (w *walker) text() []byte {
	end := 1
	for w.rest[end] != '"' {
		if w.rest[end] == '\\' {
			end++
		}
		end++
	}
	quoted := w.rest[: end+1 : end+1]
	w.rest = w.rest[end+1:]
	return quoted
}

func (w *walker) space() {
	for len(w.rest) > 0 && (w.rest[0] == ' ' || w.rest[0] == '\t' || w.rest[0] == '\n' || w.rest[0] == '\r') {
		w.rest = w.rest[1:]
	}
}

// unquote gives what a string stands for, as encoding/json does.
func unquote(quoted []byte) (string, error) {
	if quoted[0] != '"' {
		return "", errNotText
	}
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1 : len(quoted)-1]), nil
	}
	var s string
	if err := json.Unmarshal(quoted, &s); err != nil {
		return "", errNotText
	}
	return s, nil
}
