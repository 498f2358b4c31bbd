package ace

import (
	"errors"
	"fmt"

	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// Standard Problem Detail Keys (RFC 9290 §3.1) that the draft puts our words in. title -1 and the others are left out.
const (
	detailDetail   = -2 // error_description
	detailInstance = -3 // error_uri
)

// ProblemDetails is the map {2: {0: code}, ? -2: description, ? -3: URI} of the workflow draft (docs/wire.md §5), in Content-Format 257. A code
// without a number is an error; it leaves as a bare response code.
func (e *Error) ProblemDetails() ([]byte, error) {
	if e.Code <= 0 {
		return nil, fmt.Errorf("%s has no number", e.Code)
	}
	m := map[int]any{detailACEError: map[int]int{errorCodeKey: int(e.Code)}}
	if e.Description != "" {
		m[detailDetail] = describe(e.Description)
	}
	if e.URI != "" {
		m[detailInstance] = describe(e.URI)
	}
	return wire.Marshal(m)
}

var errNoACEError = errors.New("problem details without an ace-error")

// ParseProblemDetails reads what ProblemDetails wrote. A number we do not know is kept; other problem details, and a detail in
// another form than text, such as one with a language tag, are left alone.
func ParseProblemDetails(data []byte) (*Error, error) {
	f, err := parseFields(data)
	if err != nil {
		return nil, err
	}
	raw, ok := f[detailACEError]
	if !ok {
		return nil, errNoACEError
	}
	inner, err := parseFields(raw)
	if err != nil {
		return nil, fmt.Errorf("ace-error: %w", err)
	}
	code, err := uintOf(inner[errorCodeKey])
	if err != nil || code == 0 || code > maxErrorCode {
		return nil, errors.New("ace-error: no such error-code")
	}
	e := &Error{Code: ErrorCode(code)}
	e.Description, _ = textOf(f[detailDetail])
	e.URI, _ = textOf(f[detailInstance])
	e.Description, e.URI = describe(e.Description), describe(e.URI)
	return e, nil
}
