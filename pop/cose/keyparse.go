package cose

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"slices"
)

// p256Size is the length in bytes of a coordinate on P-256.
const p256Size = 32

// ParseKey reads a COSE_Key. A point that is not on P-256, a private part and an operation list with duplicates are
// refused; unknown labels are ignored (RFC 9052 §7).
func ParseKey(data []byte) (*Key, error) {
	m, err := parseMap(data)
	if err != nil {
		return nil, err
	}
	return keyOf(m)
}

func keyOf(m map[any]any) (*Key, error) {
	kind, ok := m[labelType].(int64)
	if !ok {
		return nil, malformed("key without key type")
	}
	k := &Key{kind: KeyType(kind)}
	if err := k.parseCommon(m); err != nil {
		return nil, err
	}
	switch k.kind {
	case KeyTypeEC2:
		return k, k.parsePoint(m)
	case KeyTypeSymmetric:
		if k.secret, ok = m[labelK].([]byte); !ok {
			return nil, malformed("symmetric key without k")
		}
		return k, k.check()
	}
	return nil, unsupported(k.kind)
}

func (k *Key) parseCommon(m map[any]any) error {
	if value, ok := m[labelID]; ok {
		if k.id, ok = keyID(value); !ok {
			return malformed("key id")
		}
	}
	if value, ok := m[labelAlgorithm]; ok {
		alg, isInt := value.(int64)
		if !isInt {
			return unsupported("key with a named algorithm")
		}
		k.alg = Algorithm(alg)
	}
	value, ok := m[labelOperations]
	if !ok {
		return nil
	}
	list, ok := value.([]any)
	if !ok || len(list) == 0 || len(list) > maxKeyOps {
		return malformed("key operations")
	}
	for _, item := range list {
		op, isInt := item.(int64)
		if !isInt || slices.Contains(k.ops, KeyOperation(op)) {
			return malformed("key operations")
		}
		k.ops = append(k.ops, KeyOperation(op))
	}
	return nil
}

// parsePoint reads an EC2 public key; y may be given as its sign.
func (k *Key) parsePoint(m map[any]any) error {
	if _, private := m[labelD]; private {
		return malformed("key with a private part")
	}
	if curve, ok := m[labelCurve].(int64); !ok || curve != curveP256 {
		return unsupported("curve other than P-256")
	}
	x, ok := m[labelX].([]byte)
	if !ok || len(x) != p256Size {
		return malformed("x coordinate")
	}
	var point []byte
	switch y := m[labelY].(type) {
	case []byte:
		point = slices.Concat([]byte{4}, x, y)
	case bool:
		k.compressed = true
		point = decompress(x, y)
	}
	if len(point) != 1+2*p256Size {
		return malformed("y coordinate")
	}
	var err error
	if k.public, err = ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point); err != nil {
		return malformed("point is not on the curve")
	}
	return nil
}

// decompress returns the uncompressed point, or nil if x belongs to none.
func decompress(x []byte, odd bool) []byte {
	sign := byte(2)
	if odd {
		sign = 3
	}
	px, py := elliptic.UnmarshalCompressed(elliptic.P256(), append([]byte{sign}, x...))
	if px == nil {
		return nil
	}
	point := make([]byte, 1+2*p256Size)
	point[0] = 4
	px.FillBytes(point[1 : 1+p256Size])
	py.FillBytes(point[1+p256Size:])
	return point
}
