package cose

import (
	"io"
)

const contextSignature = "Signature"

// Sign signs payload once for each signer and returns an untagged COSE_Sign. Algorithm and key id of each signature stand
// in its protected header; the message's own is empty. externalAAD may be nil.
func Sign(signers []Signer, payload, externalAAD []byte, rand io.Reader) ([]byte, error) {
	if len(signers) == 0 || len(signers) > maxSigners {
		return nil, unfit("%d signers, want 1 to %d", len(signers), maxSigners)
	}
	signatures := appendHead(nil, majorArray, uint64(len(signers)))
	for _, s := range signers {
		protected, err := s.header()
		if err != nil {
			return nil, err
		}
		signature, err := s.sign(structure(contextSignature, nil, protected, externalAAD, payload), rand)
		if err != nil {
			return nil, err
		}
		signatures = append(signatures, assemble(protected, emptyMap, signature)...)
	}
	return assemble(nil, emptyMap, payload, signatures), nil
}

// SignMessage is a COSE_Sign that has been read but not verified: nothing it says is authentic.
type SignMessage struct {
	message
	signatures []message // the content of each is the signature
}

// ParseSign reads an untagged COSE_Sign with 1 to 16 signatures.
func ParseSign(data []byte) (*SignMessage, error) {
	m := &SignMessage{}
	r, err := m.parse(data, 4)
	if err != nil {
		return nil, err
	}
	n, ok := r.items(majorArray)
	if !ok || n == 0 || n > maxSigners {
		return nil, malformed("signatures are not an array of 1 to %d", maxSigners)
	}
	m.signatures = make([]message, n)
	for i := range m.signatures {
		s := &m.signatures[i]
		if n, ok := r.items(majorArray); !ok || n != 3 {
			return nil, malformed("signature %d is not an array of 3", i)
		}
		if err := s.readBuckets(&r); err != nil {
			return nil, err
		}
		if s.content, ok = r.bytes(); !ok {
			return nil, malformed("signature %d is not a byte string", i)
		}
	}
	return m, r.finish()
}

// Signatures is their number.
func (m *SignMessage) Signatures() int { return len(m.signatures) }

// Signature gives the algorithm and the key id of signature i, which counts from 0; the algorithm is 0 if it has only a
// name, the id nil if there is none.
func (m *SignMessage) Signature(i int) (Algorithm, KeyID) {
	h := &m.signatures[i].header
	return h.alg, h.kid
}

// Verify returns the payload if every signature is by the key that find returns for it. A signature that cannot be
// checked refuses the message: whoever needs only some of them says which with VerifySignature.
func (m *SignMessage) Verify(find FindKey, o Options) ([]byte, error) {
	var payload []byte
	for i := range m.signatures {
		var err error
		if payload, err = m.VerifySignature(i, find, o); err != nil {
			return nil, err
		}
	}
	return payload, nil
}

// VerifySignature returns the payload if signature i is by the key that find returns, whatever the others are. Errors:
// ErrMalformed, ErrUnsupported, ErrKey, ErrVerification, or what find said.
func (m *SignMessage) VerifySignature(i int, find FindKey, o Options) ([]byte, error) {
	s := &m.signatures[i]
	if err := m.header.checkCritical(&o); err != nil {
		return nil, err
	}
	if err := s.header.check(&o); err != nil {
		return nil, err
	}
	signed := structure(contextSignature, m.header.protected, s.header.protected, o.External, m.content)
	if err := verifySignature(&s.header, find, signed, s.content); err != nil {
		return nil, err
	}
	return m.content, nil
}
