package ace

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/cwt"
	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// fields is a message as a map of encoded values, the form that all encodings share.
type fields map[Parameter]wire.RawMessage

var (
	errNotMap  = errors.New("not a map with integer keys")
	errMissing = errors.New("missing")
)

func parseFields(data []byte) (fields, error) {
	if len(data) > MaxMessage {
		return nil, tooLong(len(data), MaxMessage)
	}
	if major(data) != majorMap {
		return nil, errNotMap
	}
	var f fields
	if err := wire.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("%w: %w", errNotMap, err)
	}
	return f, nil
}

func tooLong(n, limit int) error { return fmt.Errorf("%d bytes, at most %d", n, limit) }

// reader takes fields apart and keeps the first error, which names its parameter. A field that is absent reads as the
// zero value.
type reader struct {
	fields fields
	names  map[Parameter]string // of a message with its own registry; nil: the OAuth parameters'
	err    error
}

func (r *reader) fail(p Parameter, err error) {
	if r.err != nil || err == nil {
		return
	}
	name, ok := r.names[p]
	if !ok {
		name = p.String()
	}
	r.err = fmt.Errorf("%s: %w", name, err)
}

// required notes an error when p is absent.
func (r *reader) required(p Parameter) *reader {
	if _, ok := r.fields[p]; !ok {
		r.fail(p, errMissing)
	}
	return r
}

// only refuses every field that is not listed.
func (r *reader) only(known ...Parameter) {
	rest := maps.Clone(r.fields)
	for _, p := range known {
		delete(rest, p)
	}
	for p := range rest {
		r.fail(p, errors.New("not allowed here"))
	}
}

// read decodes one field if it is there.
func read[T any](r *reader, p Parameter, decode func(wire.RawMessage) (T, error)) (value T) {
	raw, ok := r.fields[p]
	if !ok || r.err != nil {
		return value
	}
	value, err := decode(raw)
	r.fail(p, err)
	return value
}

// text reads at most limit visible characters.
func (r *reader) text(p Parameter, limit int) string {
	s := read(r, p, textOf)
	r.fail(p, checkText(s, limit))
	return s
}

// secret reads a byte string that is text in JSON.
func (r *reader) secret(p Parameter, limit int) string {
	s := string(read(r, p, bytesOf))
	r.fail(p, checkText(s, limit))
	return s
}

// bytes reads between low and high bytes. An empty value that is there is not nil.
func (r *reader) bytes(p Parameter, low, high int) []byte {
	b := read(r, p, bytesOf)
	if b == nil {
		return nil
	}
	if len(b) < low || len(b) > high {
		r.fail(p, fmt.Errorf("%d bytes, want %d to %d", len(b), low, high))
	}
	return b
}

func (r *reader) uint(p Parameter) uint64 { return read(r, p, uintOf) }

func (r *reader) seconds(p Parameter) time.Duration {
	s := r.uint(p)
	if s > uint64(MaxLifetime/time.Second) {
		r.fail(p, fmt.Errorf("more than %d seconds", MaxLifetime/time.Second))
		return 0
	}
	return time.Duration(s) * time.Second
}

// item reads the content of to_rs or from_rs.
func (r *reader) item(p Parameter) []byte {
	content := read(r, p, uploadOf)
	if len(content) > maxUpload {
		r.fail(p, tooLong(len(content), maxUpload))
	}
	return content
}

func (r *reader) scope(p Parameter) Scope { return read(r, p, parseScope) }

func (r *reader) confirmation(p Parameter) *pop.Confirmation {
	return read(r, p, func(raw wire.RawMessage) (*pop.Confirmation, error) {
		c, err := cwt.ParseConfirmation(raw)
		if err != nil {
			return nil, err
		}
		return &c, nil
	})
}

func (r *reader) uris(p Parameter) []string {
	uris := read(r, p, textsOf)
	r.fail(p, checkURIs(uris))
	return uris
}

// upload reads token_upload.
func (r *reader) upload(p Parameter) *uint {
	value := read(r, p, func(raw wire.RawMessage) (*uint64, error) {
		n, err := uintOf(raw)
		return &n, err
	})
	if value == nil {
		return nil
	}
	if *value > 2 {
		r.fail(p, errors.New("not 0, 1 or 2"))
	}
	n := uint(*value)
	return &n
}

// checkText allows VSCHAR (RFC 6749 appendix A): what stands in logs and pages cannot break out of its line.
func checkText(s string, limit int) error {
	if len(s) > limit {
		return tooLong(len(s), limit)
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		return errors.New("holds a character outside of visible ASCII")
	}
	return nil
}

func checkURIs(uris []string) error {
	if len(uris) > MaxURIs {
		return fmt.Errorf("%d URIs, at most %d", len(uris), MaxURIs)
	}
	for _, uri := range uris {
		if err := checkText(uri, MaxURI); err != nil {
			return err
		}
		scheme, _, ok := strings.Cut(uri, ":")
		if !ok || scheme == "" || strings.ContainsAny(uri, " \"<>\\") {
			return errors.New("not an absolute URI")
		}
	}
	return nil
}
