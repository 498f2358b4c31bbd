package ace

import (
	"fmt"

	"github.com/latchkey-ace/latchkey/pop/cose"
)

// paramHintAS and paramHintKID are keys of the hints' own registry (RFC 9200 §8.1); audience, scope and cnonce have
// the numbers of the OAuth parameters.
const (
	paramHintAS  Parameter = 1
	paramHintKID Parameter = 2
)

var hintNames = map[Parameter]string{paramHintAS: "AS", paramHintKID: "kid"}

// CreationHints tell a client that was refused where to get a token (RFC 9200 §5.3). They come unprotected: a client
// uses them only for an authorization server that it trusts for this resource server. Every field is optional.
type CreationHints struct {
	AS       string // absolute URI of the token endpoint
	Audience string
	Scope    Scope
	CNonce   []byte // nil: absent; empty is a value
	KID      cose.KeyID
}

// ParseCreationHints reads hints; keys we do not know are ignored.
func ParseCreationHints(data []byte) (CreationHints, error) {
	f, err := parseFields(data)
	if err != nil {
		return CreationHints{}, fmt.Errorf("creation hints: %w", err)
	}
	r := &reader{fields: f, names: hintNames}
	h := CreationHints{
		AS:       r.text(paramHintAS, MaxURI),
		Audience: r.text(ParamAudience, maxName),
		Scope:    r.scope(ParamScope),
		CNonce:   r.bytes(ParamCNonce, 0, MaxCNonce),
		KID:      cose.KeyID(r.bytes(paramHintKID, 0, MaxCNonce)),
	}
	if h.AS != "" {
		r.fail(paramHintAS, checkURIs([]string{h.AS}))
	}
	if r.err != nil {
		return CreationHints{}, fmt.Errorf("creation hints: %w", r.err)
	}
	return h, nil
}

// Encode writes the hints.
func (h CreationHints) Encode() ([]byte, error) {
	w := writer{fields: make(fields)}
	w.text(paramHintAS, h.AS)
	w.text(ParamAudience, h.Audience)
	w.scope(ParamScope, h.Scope)
	w.bytes(ParamCNonce, h.CNonce)
	w.bytes(paramHintKID, h.KID)
	return checked(w, ParseCreationHints)
}
