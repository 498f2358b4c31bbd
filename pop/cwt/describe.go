package cwt

import (
	"fmt"

	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// Describe shows a token's structure in CBOR diagnostic notation for people, the claims too if they are only signed. It
// verifies nothing: what it shows may be forged.
func Describe(token []byte) (string, error) {
	tag, inner, err := cose.Unwrap(token)
	if err == nil && tag == cose.TagCWT {
		tag, inner, err = cose.Unwrap(inner)
	}
	if err != nil {
		return "", fmt.Errorf("not a CWT: %w", err)
	}
	var parts []wire.RawMessage
	if err := wire.Unmarshal(inner, &parts); err != nil || len(parts) < 3 {
		return "", fmt.Errorf("not a COSE message: %w", ErrForm)
	}
	out := fmt.Sprintf("%v, %d bytes\n%s", tag, len(token), wire.Diagnose(token))
	var protected, payload []byte
	if wire.Unmarshal(parts[0], &protected) == nil {
		out += "\nprotected " + wire.Diagnose(protected)
	}
	if tag == cose.TagSign1 && wire.Unmarshal(parts[2], &payload) == nil {
		out += "\nclaims, not verified " + wire.Diagnose(payload)
	}
	return out, nil
}
