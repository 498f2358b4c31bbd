package cose

import "fmt"

// KeyID names a key within one issuer or device (COSE_Key label 2, header label 4). Two keys may share one. nil means
// absent.
type KeyID []byte

// Algorithm is a COSE algorithm identifier (IANA COSE Algorithms). 0 is reserved there and means absent.
type Algorithm int64

// The algorithms that this package can use, in the order of the IANA registry. Left out on purpose: AES-CCM with 7-byte
// nonces, which are too short to be drawn at random, and 256-bit AES-CCM, which no device of ours has.
const (
	ECDHESHKDF256    Algorithm = -25
	ES256            Algorithm = -7
	A128GCM          Algorithm = 1
	A256GCM          Algorithm = 3
	AESCCM16_64_128  Algorithm = 10
	AESCCM16_128_128 Algorithm = 30
)

// algorithmNames are the registered names, so that an error can say what is not supported.
var algorithmNames = map[Algorithm]string{
	-36:              "ES512",
	-35:              "ES384",
	-31:              "ECDH-ES + A256KW",
	-30:              "ECDH-ES + A192KW",
	-29:              "ECDH-ES + A128KW",
	-28:              "ECDH-SS + HKDF-512",
	-27:              "ECDH-SS + HKDF-256",
	-26:              "ECDH-ES + HKDF-512",
	ECDHESHKDF256:    "ECDH-ES + HKDF-256",
	-11:              "direct+HKDF-SHA-512",
	-10:              "direct+HKDF-SHA-256",
	-8:               "EdDSA",
	ES256:            "ES256",
	-6:               "direct",
	-5:               "A256KW",
	-4:               "A192KW",
	-3:               "A128KW",
	A128GCM:          "A128GCM",
	2:                "A192GCM",
	A256GCM:          "A256GCM",
	4:                "HMAC 256/64",
	5:                "HMAC 256/256",
	6:                "HMAC 384/384",
	7:                "HMAC 512/512",
	AESCCM16_64_128:  "AES-CCM-16-64-128",
	11:               "AES-CCM-16-64-256",
	12:               "AES-CCM-64-64-128",
	13:               "AES-CCM-64-64-256",
	24:               "ChaCha20/Poly1305",
	AESCCM16_128_128: "AES-CCM-16-128-128",
	31:               "AES-CCM-16-128-256",
	32:               "AES-CCM-64-128-128",
	33:               "AES-CCM-64-128-256",
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

// Key types, in registry order. OKP (1) and RSA (3) are left out: no device of ours has them.
const (
	KeyTypeEC2       KeyType = 2
	KeyTypeSymmetric KeyType = 4
)

// String gives the registered name.
func (t KeyType) String() string {
	switch t {
	case 1:
		return "OKP"
	case KeyTypeEC2:
		return "EC2"
	case 3:
		return "RSA"
	case KeyTypeSymmetric:
		return "Symmetric"
	}
	return fmt.Sprintf("key type %d", int64(t))
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

// Tags, in registry order. All but Encrypt0, Sign1, CWT and Encrypt are here only to be named when they are refused.
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

// Header parameters (RFC 9052 §3.1, RFC 9053 §6.3.1).
const (
	headerAlgorithm   int64 = 1
	headerCritical    int64 = 2
	headerKeyID       int64 = 4
	headerIV          int64 = 5
	headerPartialIV   int64 = 6
	headerEphemeral   int64 = -1
	headerSalt        int64 = -20
	headerPartyVOther int64 = -26
)

// COSE_Key parameters (RFC 9052 §7.1, RFC 9053 §7).
const (
	labelType       int64 = 1
	labelID         int64 = 2
	labelAlgorithm  int64 = 3
	labelOperations int64 = 4
	labelCurve      int64 = -1 // EC2
	labelX          int64 = -2 // EC2
	labelY          int64 = -3 // EC2
	labelD          int64 = -4 // EC2, private: refused
	labelK          int64 = -1 // Symmetric

	curveP256 int64 = 1
)
