package cose

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// header is what both buckets of one layer say.
type header struct {
	alg       Algorithm // 0: absent
	kid       KeyID     // nil: absent
	iv        []byte
	ephemeral map[any]any // a COSE_Key, not yet looked at

	protected []byte // as it stands in the structure that is signed or authenticated
}

// understood are the parameters that crit may name.
var understood = []int64{headerAlgorithm, headerKeyID, headerIV, headerEphemeral}

// parseHeader reads both buckets (RFC 9052 §3). Unknown parameters are ignored unless they are critical.
func parseHeader(protected, unprotected []byte) (header, error) {
	h := header{protected: protected}
	sure := map[any]any{}
	var err error
	if len(protected) > 0 {
		if sure, err = parseMap(protected); err != nil {
			return h, err
		}
	}
	if len(sure) == 0 {
		// RFC 9052 §3: an empty map is taken as the zero-length string in every structure.
		h.protected = []byte{}
	}
	open, err := parseMap(unprotected)
	if err != nil {
		return h, err
	}
	if err := checkBuckets(sure, open); err != nil {
		return h, err
	}
	return h, errors.Join(h.read(sure), h.read(open))
}

func checkBuckets(protected, unprotected map[any]any) error {
	for label := range unprotected {
		if _, ok := protected[label]; ok {
			return malformed("header parameter %v stands in both buckets", label)
		}
	}
	if _, ok := unprotected[headerCritical]; ok {
		return malformed("crit is not protected")
	}
	value, ok := protected[headerCritical]
	if !ok {
		return nil
	}
	critical, ok := value.([]any)
	if !ok || len(critical) == 0 {
		return malformed("crit is not a list of labels")
	}
	for _, label := range critical {
		n, isInt := label.(int64)
		if !isInt || !slices.Contains(understood, n) {
			return unsupported(fmt.Sprintf("critical header parameter %v", label))
		}
		if _, ok := protected[n]; !ok {
			return malformed("critical header parameter %v is not there", label)
		}
	}
	return nil
}

// read takes the parameters of one bucket.
func (h *header) read(bucket map[any]any) error {
	for label, value := range bucket {
		n, isInt := label.(int64)
		if !isInt {
			continue
		}
		if err := h.readParameter(n, value); err != nil {
			return err
		}
	}
	return nil
}

func (h *header) readParameter(label int64, value any) error {
	ok := true
	switch {
	case label == headerAlgorithm:
		var n int64
		if n, ok = value.(int64); !ok {
			return unsupported(fmt.Sprintf("algorithm %.32q", value))
		}
		h.alg = Algorithm(n)
	case label == headerKeyID:
		h.kid, ok = keyID(value)
	case label == headerIV:
		h.iv, ok = value.([]byte)
	case label == headerPartialIV:
		return unsupported("partial IV")
	case label == headerEphemeral:
		h.ephemeral, ok = value.(map[any]any)
	case label <= headerSalt && label >= headerPartyVOther:
		// These change the derived key (RFC 9053 §5.1, §5.2); without them the message would merely not verify.
		return unsupported(fmt.Sprintf("key derivation parameter %d", label))
	}
	if !ok {
		return malformed("header parameter %d has the wrong type or length", label)
	}
	return nil
}

func keyID(value any) (KeyID, bool) {
	id, ok := value.([]byte)
	return id, ok && len(id) <= MaxKeyID
}

// parseMap reads one map whose labels are integers or text.
func parseMap(data []byte) (map[any]any, error) {
	var item any
	if err := wire.Unmarshal(data, &item); err != nil {
		return nil, malformed("%w", err)
	}
	m, ok := item.(map[any]any)
	if !ok {
		return nil, malformed("not a map")
	}
	if len(m) > maxHeaders {
		return nil, malformed("%d parameters, at most %d", len(m), maxHeaders)
	}
	for label := range m {
		switch label.(type) {
		case int64, string:
		default:
			return nil, malformed("label %v is neither integer nor text", label)
		}
	}
	return m, nil
}

// parseExact decodes data into v and demands that v encodes to the same bytes: shortest heads, no tags, byte strings where
// byte strings belong. Protected and raw parts are kept as received.
func parseExact(data []byte, v any) error {
	if err := wire.Unmarshal(data, v); err != nil {
		return malformed("%w", err)
	}
	again, err := wire.Marshal(v)
	if err != nil {
		return malformed("%w", err)
	}
	if !bytes.Equal(again, data) {
		return malformed("a field has the wrong type or is not in its shortest encoding")
	}
	return nil
}

// bytesOf makes the absent byte string an empty one, which is what COSE structures hold.
func bytesOf(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

var emptyMap = wire.RawMessage{0xa0}

// checkEmpty demands an empty unprotected bucket (RFC 9770 §3).
func checkEmpty(unprotected []byte) error {
	if !bytes.Equal(unprotected, emptyMap) {
		return fmt.Errorf("%w: the unprotected header is not empty", ErrNotCanonical)
	}
	return nil
}
