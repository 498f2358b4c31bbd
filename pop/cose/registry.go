package cose

import "fmt"

// KeyID names a key within one issuer or device (COSE_Key label 2, header label 4). Two keys may share one. nil means
// absent.
type KeyID []byte

// Algorithm is a COSE algorithm identifier (IANA COSE Algorithms). 0 is reserved there and means absent.
type Algorithm int64

// The algorithms that this package can use, in the order of the IANA registry. Left out on purpose: AES-CCM with 7-byte
// nonces, which are too short to be drawn at random; 192-bit AES; hashes of 512 bits outside of Ed25519; static-static
// key agreement, whose messages have no fresh secret; RSA.
const (
	ES384            Algorithm = -35
	ECDHESA128KW     Algorithm = -29 // ECDH-ES + A128KW
	ECDHESHKDF256    Algorithm = -25 // ECDH-ES + HKDF-256
	DirectHKDF256    Algorithm = -10 // direct+HKDF-SHA-256
	EdDSA            Algorithm = -8  // Ed25519
	ES256            Algorithm = -7
	Direct           Algorithm = -6
	A128KW           Algorithm = -3
	A128GCM          Algorithm = 1
	A256GCM          Algorithm = 3
	HMAC256_64       Algorithm = 4
	HMAC256          Algorithm = 5 // HMAC 256/256
	AESCCM16_64_128  Algorithm = 10
	AESCCM16_64_256  Algorithm = 11
	ChaCha20Poly1305 Algorithm = 24
	AESCCM16_128_128 Algorithm = 30
	AESCCM16_128_256 Algorithm = 31
)

// algorithmNames are the registered names, so that an error can say what is not supported.
var algorithmNames = map[Algorithm]string{
	-65535:           "RS1",
	-260:             "WalnutDSA",
	-259:             "RS512",
	-258:             "RS384",
	-257:             "RS256",
	-53:              "Ed448",
	-52:              "ESP512",
	-51:              "ESP384",
	-47:              "ES256K",
	-46:              "HSS-LMS",
	-45:              "SHAKE256",
	-44:              "SHA-512",
	-43:              "SHA-384",
	-42:              "RSAES-OAEP w/ SHA-512",
	-41:              "RSAES-OAEP w/ SHA-256",
	-40:              "RSAES-OAEP w/ RFC 8017 default parameters",
	-39:              "PS512",
	-38:              "PS384",
	-37:              "PS256",
	-36:              "ES512",
	ES384:            "ES384",
	-34:              "ECDH-SS + A256KW",
	-33:              "ECDH-SS + A192KW",
	-32:              "ECDH-SS + A128KW",
	-31:              "ECDH-ES + A256KW",
	-30:              "ECDH-ES + A192KW",
	ECDHESA128KW:     "ECDH-ES + A128KW",
	-28:              "ECDH-SS + HKDF-512",
	-27:              "ECDH-SS + HKDF-256",
	-26:              "ECDH-ES + HKDF-512",
	ECDHESHKDF256:    "ECDH-ES + HKDF-256",
	-19:              "Ed25519",
	-18:              "SHAKE128",
	-17:              "SHA-512/256",
	-16:              "SHA-256",
	-15:              "SHA-256/64",
	-14:              "SHA-1",
	-13:              "direct+HKDF-AES-256",
	-12:              "direct+HKDF-AES-128",
	-11:              "direct+HKDF-SHA-512",
	DirectHKDF256:    "direct+HKDF-SHA-256",
	-9:               "ESP256",
	EdDSA:            "EdDSA",
	ES256:            "ES256",
	Direct:           "direct",
	-5:               "A256KW",
	-4:               "A192KW",
	A128KW:           "A128KW",
	A128GCM:          "A128GCM",
	2:                "A192GCM",
	A256GCM:          "A256GCM",
	HMAC256_64:       "HMAC 256/64",
	HMAC256:          "HMAC 256/256",
	6:                "HMAC 384/384",
	7:                "HMAC 512/512",
	AESCCM16_64_128:  "AES-CCM-16-64-128",
	AESCCM16_64_256:  "AES-CCM-16-64-256",
	12:               "AES-CCM-64-64-128",
	13:               "AES-CCM-64-64-256",
	14:               "AES-MAC 128/64",
	15:               "AES-MAC 256/64",
	ChaCha20Poly1305: "ChaCha20/Poly1305",
	25:               "AES-MAC 128/128",
	26:               "AES-MAC 256/128",
	AESCCM16_128_128: "AES-CCM-16-128-128",
	AESCCM16_128_256: "AES-CCM-16-128-256",
	32:               "AES-CCM-64-128-128",
	33:               "AES-CCM-64-128-256",
	34:               "IV-GENERATION",
}

// String gives the registered name.
func (a Algorithm) String() string {
	if name, ok := algorithmNames[a]; ok {
		return name
	}
	return fmt.Sprintf("algorithm %d", int64(a))
}

// KeyType is a COSE key type (IANA COSE Key Types).
type KeyType int64

// Key types, in registry order. RSA (3) and what comes after 4 are left out: nothing of ours has them.
const (
	KeyTypeOKP       KeyType = 1
	KeyTypeEC2       KeyType = 2
	KeyTypeSymmetric KeyType = 4
)

// String gives the registered name.
func (t KeyType) String() string {
	switch t {
	case KeyTypeOKP:
		return "OKP"
	case KeyTypeEC2:
		return "EC2"
	case 3:
		return "RSA"
	case KeyTypeSymmetric:
		return "Symmetric"
	case 5:
		return "HSS-LMS"
	}
	return fmt.Sprintf("key type %d", int64(t))
}

// Curve is a COSE elliptic curve (IANA COSE Elliptic Curves). 0 is reserved there and means none.
type Curve int64

// Curves, in registry order. P-521, X448, Ed448 and secp256k1 are left out.
const (
	CurveP256    Curve = 1
	CurveP384    Curve = 2
	CurveX25519  Curve = 4
	CurveEd25519 Curve = 6
)

var curveNames = [...]string{"no curve", "P-256", "P-384", "P-521", "X25519", "X448", "Ed25519", "Ed448", "secp256k1"}

// String gives the registered name.
func (c Curve) String() string {
	if c >= 0 && int(c) < len(curveNames) {
		return curveNames[c]
	}
	return fmt.Sprintf("curve %d", int64(c))
}

// KeyOperation says what a key may be used for (RFC 9052 §7.1).
type KeyOperation int64

// Key operations, in registry order.
const (
	OperationSign KeyOperation = 1 + iota
	OperationVerify
	OperationEncrypt
	OperationDecrypt
	OperationWrap
	OperationUnwrap
	OperationDeriveKey
	OperationDeriveBits
	OperationMACCreate
	OperationMACVerify
)

var operationNames = [...]string{
	"", "sign", "verify", "encrypt", "decrypt", "wrap key", "unwrap key", "derive key", "derive bits", "MAC create", "MAC verify",
}

// String gives the registered name.
func (o KeyOperation) String() string {
	if o >= OperationSign && o <= OperationMACVerify {
		return operationNames[o]
	}
	return fmt.Sprintf("operation %d", int64(o))
}

// Tag is the CBOR tag of a COSE structure or of a CWT (IANA CBOR Tags).
type Tag uint64

// Tags, in registry order.
const (
	TagEncrypt0 Tag = 16
	TagMac0     Tag = 17
	TagSign1    Tag = 18
	TagCWT      Tag = 61
	TagEncrypt  Tag = 96
	TagMac      Tag = 97
	TagSign     Tag = 98
)

// String gives the name of the structure.
func (t Tag) String() string {
	switch t {
	case TagEncrypt0:
		return "COSE_Encrypt0"
	case TagMac0:
		return "COSE_Mac0"
	case TagSign1:
		return "COSE_Sign1"
	case TagCWT:
		return "CWT"
	case TagEncrypt:
		return "COSE_Encrypt"
	case TagMac:
		return "COSE_Mac"
	case TagSign:
		return "COSE_Sign"
	}
	return fmt.Sprintf("tag %d", uint64(t))
}

// Header parameters (RFC 9052 §3.1, RFC 9053 §5.1, §5.2 and §6.3.1).
const (
	headerAlgorithm      int64 = 1
	headerCritical       int64 = 2
	headerKeyID          int64 = 4
	headerIV             int64 = 5
	headerPartialIV      int64 = 6
	headerEphemeral      int64 = -1
	headerSalt           int64 = -20
	headerPartyUIdentity int64 = -21
	headerPartyUNonce    int64 = -22
	headerPartyVNonce    int64 = -25
	headerPartyVOther    int64 = -26
)

// COSE_Key parameters (RFC 9052 §7.1, RFC 9053 §7).
const (
	labelType       int64 = 1
	labelID         int64 = 2
	labelAlgorithm  int64 = 3
	labelOperations int64 = 4
	labelBaseIV     int64 = 5
	labelCurve      int64 = -1 // EC2, OKP
	labelX          int64 = -2 // EC2, OKP
	labelY          int64 = -3 // EC2
	labelD          int64 = -4 // EC2, OKP: private
	labelK          int64 = -1 // Symmetric
)
