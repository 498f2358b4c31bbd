package appattest

import (
	"encoding/binary"

	"github.com/fxamacker/cbor/v2"
)

// Sizes and places in authenticator data (WebAuthn §6.1, §6.5.1).
const (
	hashSize     = 32
	headSize     = hashSize + 1 + 4 // hash of the app id, flags, counter
	aaguidSize   = 16
	coseKeySize  = 77                                                 // of a P-256 key in the one encoding that CTAP2 allows
	attestedSize = headSize + aaguidSize + 2 + hashSize + coseKeySize // 2: the length of the credential id

	flagAttested   = 1 << 6 // AT
	flagExtensions = 1 << 7 // ED
)

const format = "apple-appattest"

// categoryDevelopment is the apple_validation_category_01 of what is signed for development. The others say through which shop an app came.
const categoryDevelopment = 3

// object is an attestation object, decoded.
type object struct {
	Format    string          `cbor:"fmt"`
	Statement statement       `cbor:"attStmt"`
	AuthData  cbor.ByteString `cbor:"authData"`
}

type statement struct {
	Chain   []cbor.ByteString `cbor:"x5c"`
	Receipt cbor.ByteString   `cbor:"receipt"`
}

// assertion is an assertion, decoded.
type assertion struct {
	Signature cbor.ByteString `cbor:"signature"`
	AuthData  cbor.ByteString `cbor:"authenticatorData"`
}

// authData is authenticator data, taken apart. The parts of the credential are nil in those of an assertion.
type authData struct {
	raw          []byte
	app          []byte // SHA-256 of the app id
	flags        byte
	counter      uint32
	aaguid       []byte
	credentialID []byte
	publicKey    []byte // COSE_Key
	category     uint32 // how the running app is signed; 0 where the system, older than iOS 27, does not say
}

var (
	decoder = mode(cbor.ExtraDecErrorUnknownField)
	// lenient takes members that it does not know. It is for extensions alone: what they say is signed, and Apple adds to them.
	lenient = mode(cbor.ExtraDecErrorNone)
)

func mode(extra cbor.ExtraDecErrorCond) cbor.DecMode {
	m, err := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		MaxNestedLevels:   4, // as are the next two, the least that the library can be told
		MaxArrayElements:  16,
		MaxMapPairs:       16,
		UTF8:              cbor.UTF8RejectInvalid,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
		ExtraReturnErrors: extra,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return m
}

// decodeObject reads an attestation object. The certificates are not looked at.
func decodeObject(data []byte) (chain []cbor.ByteString, a authData, err error) {
	var o object
	if len(data) > MaxObject {
		return nil, a, malformed("too long")
	}
	if decoder.Unmarshal(data, &o) != nil || o.Format != format || len(o.Statement.Receipt) == 0 {
		return nil, a, malformed("attestation object")
	}
	a, err = parseAttested(o.AuthData.Bytes())
	return o.Statement.Chain, a, err
}

// decodeAssertion reads an assertion.
func decodeAssertion(data []byte) (signature []byte, a authData, err error) {
	var s assertion
	if len(data) > MaxAssertion {
		return nil, a, malformed("too long")
	}
	if decoder.Unmarshal(data, &s) != nil || len(s.Signature) == 0 {
		return nil, a, malformed("assertion")
	}
	if a, err = parseHead(s.AuthData.Bytes()); err != nil {
		return nil, a, err
	}
	// AT says nothing here: Apple sets it in assertions, in which no credential follows.
	err = a.parseExtensions(a.raw[headSize:])
	return s.Signature.Bytes(), a, err
}

// parseAttested reads authenticator data with a credential.
func parseAttested(data []byte) (authData, error) {
	a, err := parseHead(data)
	if err != nil {
		return a, err
	}
	if len(data) < attestedSize || a.flags&flagAttested == 0 {
		return a, malformed("authenticator data without a credential")
	}
	rest := data[headSize:]
	a.aaguid, rest = rest[:aaguidSize], rest[aaguidSize:]
	if binary.BigEndian.Uint16(rest) != hashSize {
		return a, malformed("length of the credential id")
	}
	a.credentialID, rest = rest[2:2+hashSize], rest[2+hashSize:]
	a.publicKey, rest = rest[:coseKeySize], rest[coseKeySize:]
	err = a.parseExtensions(rest)
	return a, err
}

func parseHead(data []byte) (authData, error) {
	if len(data) < headSize || len(data) > maxAuthData {
		return authData{}, malformed("length of the authenticator data")
	}
	return authData{
		raw: data, app: data[:hashSize], flags: data[hashSize], counter: binary.BigEndian.Uint32(data[hashSize+1:]),
	}, nil
}

// parseExtensions reads the map that systems since iOS 27 add at the end of authenticator data. Apple's own example leaves the flag for it
// clear, so that what is there counts; a flag without a map is refused.
func (a *authData) parseExtensions(data []byte) error {
	if len(data) == 0 {
		if a.flags&flagExtensions != 0 {
			return malformed("no extensions")
		}
		return nil
	}
	var members map[string]cbor.RawMessage
	if lenient.Unmarshal(data, &members) != nil || members == nil {
		return malformed("extensions")
	}
	if value, ok := members["apple_validation_category_01"]; ok {
		return a.parseCategory(value)
	}
	return nil
}

// parseCategory reads what is by Apple's text a number of 32 bits, of which systems send the four bytes, the lowest first.
func (a *authData) parseCategory(value cbor.RawMessage) error {
	const unsigned = 0 // major type
	var low cbor.ByteString
	switch {
	case value[0]>>5 == unsigned && lenient.Unmarshal(value, &a.category) == nil:
		return nil
	case lenient.Unmarshal(value, &low) == nil && len(low) == 4:
		a.category = binary.LittleEndian.Uint32(low.Bytes())
		return nil
	}
	return malformed("validation category")
}
