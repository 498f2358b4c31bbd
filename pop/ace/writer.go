package ace

import (
	"fmt"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/cwt"
	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// writer puts fields together and keeps the first error. Zero values are left out.
type writer struct {
	fields fields
	err    error
}

// put encodes a value as it is.
func (w *writer) put(p Parameter, value any) {
	raw, err := wire.Marshal(value)
	w.keep(p, raw, err)
}

func (w *writer) keep(p Parameter, raw wire.RawMessage, err error) {
	if w.fields == nil {
		w.fields = make(fields)
	}
	if w.err == nil && err != nil {
		w.err = fmt.Errorf("%s: %w", p, err)
	}
	w.fields[p] = raw
}

func (w *writer) text(p Parameter, s string) {
	if s != "" {
		w.put(p, s)
	}
}

func (w *writer) secret(p Parameter, s string) {
	if s != "" {
		w.put(p, []byte(s))
	}
}

// bytes leaves out nil, but not an empty string.
func (w *writer) bytes(p Parameter, b []byte) {
	if b != nil {
		w.put(p, b)
	}
}

func (w *writer) seconds(p Parameter, d time.Duration) {
	if d != 0 {
		w.put(p, int64(d/time.Second))
	}
}

func (w *writer) uris(p Parameter, uris []string) {
	if len(uris) > 0 {
		w.put(p, uris)
	}
}

func (w *writer) scope(p Parameter, s Scope) {
	if s.Absent() && s.Rights == nil {
		return
	}
	value, err := s.value()
	if err != nil {
		w.keep(p, nil, err)
		return
	}
	w.put(p, value)
}

func (w *writer) confirmation(p Parameter, c *pop.Confirmation) {
	if c == nil {
		return
	}
	raw, err := cwt.EncodeConfirmation(*c)
	w.keep(p, raw, err)
}
