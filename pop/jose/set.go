package jose

import (
	"crypto/ecdsa"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/lestrrat-go/jwx/v2/jwa"
)

// PublicSet writes the JWK Set (RFC 7517 §5) that others verify our tokens with: P-256 keys for ES256 by kid, in
// ascending order of kid.
func PublicSet(keys map[string]*ecdsa.PublicKey) ([]byte, error) {
	list := make([]json.RawMessage, 0, len(keys))
	for _, kid := range slices.Sorted(maps.Keys(keys)) {
		one, err := encodeListed(kid, keys[kid])
		if err != nil {
			return nil, fmt.Errorf("key set: key %.64q: %w", kid, err)
		}
		list = append(list, one)
	}
	return keySet.encode(member{setKeys, list})
}

func encodeListed(kid string, key *ecdsa.PublicKey) (json.RawMessage, error) {
	if err := checkKeyID(kid); err != nil {
		return nil, err
	}
	if key == nil {
		return nil, errCurve
	}
	point, err := key.Bytes()
	if err != nil {
		return nil, errCurve
	}
	return listedKey.encodePoint(point, member{keyID, kid}, member{keyUse, "sig"}, member{keyAlgorithm, jwa.ES256.String()})
}
