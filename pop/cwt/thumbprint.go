package cwt

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// Labels of COSE_Key that a thumbprint covers (RFC 9679 §4), the same for every key type but for their meaning.
const (
	keyType  int64 = 1
	keyCurve int64 = -1 // k of a symmetric key
	keyX     int64 = -2
	keyY     int64 = -3
)

// KeyThumbprint is the SHA-256 thumbprint of a COSE_Key, the value of the confirmation method ckt (RFC 9679 §4, §5.6). Key
// id, algorithm and operations do not count, nor does whether y is compressed.
func KeyThumbprint(k *cose.Key) ([sha256.Size]byte, error) {
	var none [sha256.Size]byte
	encoded, err := k.Encode()
	if err != nil {
		return none, err
	}
	all, err := parseMap(encoded, new(room))
	if err != nil {
		return none, err
	}
	required := map[int64]wire.RawMessage{}
	for _, label := range []int64{keyType, keyCurve, keyX} {
		if value, ok := all.get(label); ok {
			required[label] = value
		}
	}
	switch k.Type() {
	case cose.KeyTypeOKP, cose.KeyTypeSymmetric:
	case cose.KeyTypeEC2:
		if required[keyY], err = uncompressedY(k); err != nil {
			return none, err
		}
	default:
		return none, fmt.Errorf("%w: no thumbprint of %v", cose.ErrUnsupported, k.Type())
	}
	covered, err := wire.Marshal(required)
	return sha256.Sum256(covered), err
}

func uncompressedY(k *cose.Key) (wire.RawMessage, error) {
	public := k.Public()
	if public == nil {
		return nil, fmt.Errorf("%w: no public key", cose.ErrKey)
	}
	point, err := public.Bytes()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", cose.ErrKey, err)
	}
	return wire.Marshal(point[1+len(point)/2:])
}

// Confirms reports whether a confirmation names this very key: by value, or by its thumbprint. A mere key id names none.
func Confirms(c pop.Confirmation, k *cose.Key) bool {
	switch {
	case c.Key != nil:
		a, errA := KeyThumbprint(c.Key)
		b, errB := KeyThumbprint(k)
		return errA == nil && errB == nil && subtle.ConstantTimeCompare(a[:], b[:]) == 1
	case c.Thumbprint != nil:
		print, err := KeyThumbprint(k)
		return err == nil && subtle.ConstantTimeCompare(print[:], c.Thumbprint) == 1
	}
	return false
}
