package ace

import (
	"encoding/json"
	"net/url"
	"strings"

	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// Parameters that exist in JSON and forms only. Their numbers stand for them in the common form of a message and never
// travel: in CBOR they are neither read nor written.
const (
	paramAssertionType Parameter = -70010 // RFC 7521 §4.2
	paramAssertion     Parameter = -70011
	paramResource      Parameter = -70012 // RFC 8707 §2
)

// dropWeb takes out what does not travel in CBOR.
func (f fields) dropWeb() {
	for _, p := range []Parameter{paramAssertionType, paramAssertion, paramResource} {
		delete(f, p)
	}
}

// errTarget refuses everything but one good resource (RFC 8707 §2): several would be one token for several APIs.
var errTarget = &Error{Code: InvalidTarget, Description: "resource: give one absolute URI without a fragment"}

var kindResource = kind{resourceFromJSON, to(textOf)}

func resourceFromJSON(raw json.RawMessage) (any, error) {
	s, err := jsonText(raw)
	if err != nil {
		return nil, errTarget
	}
	return s, nil
}

func parseResource(raw wire.RawMessage) (string, error) {
	s, err := textOf(raw)
	if err != nil || CheckResource(s) != nil {
		return "", errTarget
	}
	return s, nil
}

// CheckResource holds the identifier of an API to RFC 8707 §2: an absolute URI with a host and without a fragment. Errors are
// *Error invalid_target.
func CheckResource(uri string) error {
	u, err := url.Parse(uri)
	switch {
	case err != nil || checkText(uri, maxResource) != nil || strings.ContainsAny(uri, " \"<>\\#"):
	case u.Scheme == "" || u.Host == "" || u.User != nil || u.Opaque != "":
	default:
		return nil
	}
	return errTarget
}
