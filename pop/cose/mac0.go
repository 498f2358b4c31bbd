package cose

import (
	"crypto/hmac"
	"crypto/sha256"
)

const contextMAC0 = "MAC0"

// macAlgorithms gives the length in bytes of each tag (RFC 9053 §3.1).
var macAlgorithms = map[Algorithm]int{HMAC256_64: 8, HMAC256: sha256.Size}

func isMAC(alg Algorithm) bool { return macAlgorithms[alg] > 0 }

// macKeySize is the length in bytes of the keys that we make and derive: that of the hash (RFC 9053 §3.1).
const macKeySize = sha256.Size

// authenticate gives the tag of toMAC.
func authenticate(alg Algorithm, secret, toMAC []byte) ([]byte, error) {
	size, ok := macAlgorithms[alg]
	if !ok {
		return nil, unsupported(alg)
	}
	if len(secret) < minSecret || len(secret) > maxSecret {
		return nil, unfit("%v needs %d to %d bytes, not %d", alg, minSecret, maxSecret, len(secret))
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write(toMAC)
	return mac.Sum(nil)[:size], nil
}

// verifyTag compares in constant time.
func verifyTag(alg Algorithm, secret, toMAC, tag []byte) error {
	want, err := authenticate(alg, secret, toMAC)
	if err != nil {
		return err
	}
	if !hmac.Equal(want, tag) {
		return ErrVerification
	}
	return nil
}

// Mac0 authenticates payload and returns an untagged COSE_Mac0. The key must say its algorithm and be permitted to create
// MACs; algorithm and key id stand in the protected header. externalAAD may be nil.
func Mac0(key *Key, payload, externalAAD []byte) ([]byte, error) {
	if err := key.permitsOwn(OperationMACCreate, isMAC); err != nil {
		return nil, err
	}
	protected, err := encodeHeader(key.alg, key.id)
	if err != nil {
		return nil, err
	}
	return sealMac0(layer{protected: protected, unprotected: emptyMap, alg: key.alg}, key.secret, payload, externalAAD)
}

func sealMac0(l layer, secret, payload, externalAAD []byte) ([]byte, error) {
	tag, err := authenticate(l.alg, secret, structure(contextMAC0, l.protected, externalAAD, payload))
	if err != nil {
		return nil, err
	}
	return assemble(l.protected, l.unprotected, payload, appendBytes(nil, tag)), nil
}

// Mac0Message is a COSE_Mac0 that has been read but not verified: nothing it says is authentic.
type Mac0Message struct {
	message
	tag []byte
}

// ParseMac0 reads an untagged COSE_Mac0.
func ParseMac0(data []byte) (*Mac0Message, error) {
	m := &Mac0Message{}
	r, err := m.parse(data, 4)
	if err != nil {
		return nil, err
	}
	var ok bool
	if m.tag, ok = r.bytes(); !ok {
		return nil, malformed("the tag is not a byte string")
	}
	return m, r.finish()
}

// CheckCanonical returns ErrNotCanonical unless the unprotected header is empty.
func (m *Mac0Message) CheckCanonical() error { return checkEmpty(m.unprotected) }

// Verify returns the payload if the tag is by the key that find returns: symmetric, for the message's algorithm, permitted
// to verify MACs. Errors: ErrMalformed, ErrUnsupported, ErrKey, ErrVerification, or what find said.
func (m *Mac0Message) Verify(find FindKey, o Options) ([]byte, error) {
	if err := m.header.check(&o); err != nil {
		return nil, err
	}
	if _, ok := macAlgorithms[m.header.alg]; !ok {
		return nil, unsupported(m.header.alg)
	}
	key, err := findFor(&m.header, find, m.header.alg, OperationMACVerify)
	if err != nil {
		return nil, err
	}
	toMAC := structure(contextMAC0, m.header.protected, o.External, m.content)
	if err := verifyTag(m.header.alg, key.secret, toMAC, m.tag); err != nil {
		return nil, err
	}
	return m.content, nil
}
