package cose

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"slices"

	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// Lengths of a coordinate in bytes.
const (
	p256Size = 32
	p384Size = 48
	okpSize  = 32
)

// ParseKey reads a COSE_Key, public or symmetric. A point that is not on its curve, a private part and an operation list
// with duplicates are refused; unknown labels are ignored (RFC 9052 §7).
func ParseKey(data []byte) (*Key, error) { return parseKey(data, false) }

// ParsePrivateKey reads a COSE_Key that has a private part, or a symmetric one. A public part that is not its own is
// refused, a missing one computed (RFC 9053 §7.1.1).
func ParsePrivateKey(data []byte) (*Key, error) { return parseKey(data, true) }

func parseKey(data []byte, private bool) (*Key, error) {
	m, err := parseMap(data)
	if err != nil {
		return nil, err
	}
	kind, ok := m[labelType].(int64)
	if !ok {
		return nil, malformed("key without key type")
	}
	k := &Key{kind: KeyType(kind)}
	if err := k.parseCommon(m); err != nil {
		return nil, err
	}
	if k.kind == KeyTypeSymmetric {
		if k.secret, ok = m[labelK].([]byte); !ok {
			return nil, malformed("symmetric key without k")
		}
		return k, k.check()
	}
	if k.kind != KeyTypeEC2 && k.kind != KeyTypeOKP {
		return nil, unsupported(k.kind)
	}
	if _, ok := m[labelD]; ok != private {
		if ok {
			return nil, malformed("key with a private part")
		}
		return nil, malformed("key without a private part")
	}
	curve, ok := m[labelCurve].(int64)
	if !ok {
		return nil, malformed("key without curve")
	}
	k.curve = Curve(curve)
	if k.kind == KeyTypeEC2 {
		return k, k.parseEC2(m, private)
	}
	return k, k.parseOKP(m, private)
}

func (k *Key) parseCommon(m map[any]any) error {
	if value, ok := m[labelID]; ok {
		id, ok := value.([]byte)
		if !ok || len(id) > MaxKeyID {
			return malformed("key id")
		}
		k.id = id
	}
	if value, ok := m[labelAlgorithm]; ok {
		alg, isInt := value.(int64)
		if !isInt {
			return unsupported("key with a named algorithm")
		}
		if alg == 0 {
			return malformed("key algorithm 0")
		}
		k.alg = Algorithm(alg)
	}
	if value, ok := m[labelBaseIV]; ok {
		if k.baseIV, ok = value.([]byte); !ok || len(k.baseIV) == 0 || len(k.baseIV) > maxBaseIV {
			return malformed("Base IV")
		}
	}
	return k.parseOperations(m)
}

func (k *Key) parseOperations(m map[any]any) error {
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
		if _, isText := item.(string); isText {
			return unsupported("key with a named operation")
		}
		if !isInt || slices.Contains(k.ops, KeyOperation(op)) {
			return malformed("key operations")
		}
		k.ops = append(k.ops, KeyOperation(op))
	}
	return nil
}

// parseEC2 reads a point, whose y may be given as its sign, and a private scalar.
func (k *Key) parseEC2(m map[any]any, private bool) error {
	curve, size := elliptic.P256(), p256Size
	switch k.curve {
	case CurveP256:
	case CurveP384:
		curve, size = elliptic.P384(), p384Size
	default:
		return unsupported(k.curve)
	}
	var scalar *ecdsa.PrivateKey
	if private {
		d, ok := m[labelD].([]byte)
		if !ok || len(d) != size {
			return malformed("d is not of %d bytes", size)
		}
		var err error
		if scalar, err = ecdsa.ParseRawPrivateKey(curve, d); err != nil {
			return malformed("d is out of range")
		}
		k.private = scalar
		if m[labelX] == nil && m[labelY] == nil {
			k.public = &scalar.PublicKey
			return nil
		}
	}
	public, err := k.parsePoint(m, curve, size)
	if err != nil {
		return err
	}
	if private && !scalar.PublicKey.Equal(public) {
		return malformed("the point does not belong to d")
	}
	k.public = public
	return nil
}

func (k *Key) parsePoint(m map[any]any, curve elliptic.Curve, size int) (*ecdsa.PublicKey, error) {
	x, ok := m[labelX].([]byte)
	if !ok || len(x) != size {
		return nil, malformed("x coordinate")
	}
	var point []byte
	switch y := m[labelY].(type) {
	case []byte:
		point = slices.Concat([]byte{4}, x, y)
	case bool:
		k.compressed = true
		point = decompress(curve, x, y)
	}
	if len(point) != 1+2*size {
		return nil, malformed("y coordinate")
	}
	public, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	if err != nil {
		return nil, malformed("point is not on the curve")
	}
	return public, nil
}

// decompress returns the uncompressed point, or nil if x belongs to none.
func decompress(curve elliptic.Curve, x []byte, odd bool) []byte {
	sign := byte(2)
	if odd {
		sign = 3
	}
	px, py := elliptic.UnmarshalCompressed(curve, append([]byte{sign}, x...))
	if px == nil {
		return nil
	}
	point := make([]byte, 1+2*len(x))
	point[0] = 4
	px.FillBytes(point[1 : 1+len(x)])
	py.FillBytes(point[1+len(x):])
	return point
}

// parseOKP reads Ed25519 and X25519 (RFC 9053 §7.2).
func (k *Key) parseOKP(m map[any]any, private bool) error {
	if k.curve != CurveX25519 && k.curve != CurveEd25519 {
		return unsupported(k.curve)
	}
	x, hasX := m[labelX].([]byte)
	if !hasX && (!private || m[labelX] != nil) || hasX && len(x) != okpSize {
		return malformed("x coordinate")
	}
	if private {
		d, ok := m[labelD].([]byte)
		if !ok || len(d) != okpSize {
			return malformed("d is not of %d bytes", okpSize)
		}
		own := k.takeSeed(d)
		if hasX && !slices.Equal(own, x) {
			return malformed("x does not belong to d")
		}
		return nil
	}
	if k.curve == CurveEd25519 {
		k.public = ed25519.PublicKey(x)
		return nil
	}
	public, err := ecdh.X25519().NewPublicKey(x)
	if err != nil {
		return malformed("x coordinate")
	}
	k.public = public
	return nil
}

// takeSeed sets both parts of an OKP key from the 32 private bytes and returns x.
func (k *Key) takeSeed(d []byte) []byte {
	if k.curve == CurveEd25519 {
		private := ed25519.NewKeyFromSeed(d)
		public := private.Public().(ed25519.PublicKey)
		k.private, k.public = private, public
		return public
	}
	private, err := ecdh.X25519().NewPrivateKey(d)
	if err != nil { // only for another length
		panic(err)
	}
	k.private, k.public = private, private.PublicKey()
	return private.PublicKey().Bytes()
}

// take sets the parts of a key from the standard library's types, checked as if they had been received.
func (k *Key) take(material any) error {
	switch key := material.(type) {
	case []byte:
		k.kind, k.secret = KeyTypeSymmetric, slices.Clone(key)
	case *ecdsa.PublicKey:
		return k.takePoint(key)
	case *ecdsa.PrivateKey:
		k.private = key
		return k.takePoint(&key.PublicKey)
	case ed25519.PublicKey:
		if len(key) != ed25519.PublicKeySize {
			return unfit("Ed25519 key of %d bytes", len(key))
		}
		k.kind, k.curve, k.public = KeyTypeOKP, CurveEd25519, slices.Clone(key)
	case ed25519.PrivateKey:
		if len(key) != ed25519.PrivateKeySize {
			return unfit("Ed25519 key of %d bytes", len(key))
		}
		k.kind, k.curve = KeyTypeOKP, CurveEd25519
		k.takeSeed(key.Seed())
	case *ecdh.PublicKey:
		return k.takeECDH(key)
	case *ecdh.PrivateKey:
		k.private = key
		return k.takeECDH(key.PublicKey())
	default:
		return unsupported(material)
	}
	return nil
}

func (k *Key) takePoint(public *ecdsa.PublicKey) error {
	k.kind, k.curve = KeyTypeEC2, curveOf(public.Curve)
	if k.curve == 0 {
		return unsupported("curve other than P-256 and P-384")
	}
	point, err := public.Bytes()
	if err != nil {
		return unfit("%w", err)
	}
	k.public, err = ecdsa.ParseUncompressedPublicKey(public.Curve, point)
	return err
}

func (k *Key) takeECDH(public *ecdh.PublicKey) error {
	if public.Curve() == ecdh.X25519() {
		k.kind, k.curve, k.public = KeyTypeOKP, CurveX25519, public
		return nil
	}
	curve := elliptic.P256()
	switch public.Curve() {
	case ecdh.P256():
	case ecdh.P384():
		curve = elliptic.P384()
	default:
		return unsupported("curve other than P-256, P-384 and X25519")
	}
	k.kind, k.curve = KeyTypeEC2, curveOf(curve)
	var err error
	k.public, err = ecdsa.ParseUncompressedPublicKey(curve, public.Bytes())
	return err
}

// curveOf is 0 for a curve that we do not have.
func curveOf(curve elliptic.Curve) Curve {
	switch curve {
	case elliptic.P256():
		return CurveP256
	case elliptic.P384():
		return CurveP384
	}
	return 0
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
