package cose

import (
	"io"
)

const contextMAC = "MAC"

// Mac authenticates the content for one or more recipients and returns an untagged COSE_Mac. The rules for recipients are
// those of Encrypt. Every recipient of a MAC can forge it.
func Mac(c Content, to []To, rand io.Reader) ([]byte, error) {
	if _, ok := macAlgorithms[c.Algorithm]; !ok {
		return nil, unsupported(c.Algorithm)
	}
	recipients, key, err := lock(to, need{c.Algorithm, macKeySize, OperationMACCreate}, rand)
	if err != nil {
		return nil, err
	}
	protected, err := encodeHeader(c.Algorithm, nil)
	if err != nil {
		return nil, err
	}
	return sealMac(layer{protected: protected, unprotected: emptyMap, alg: c.Algorithm}, key, c, recipients)
}

func sealMac(l layer, key *contentKey, c Content, recipients []byte) ([]byte, error) {
	tag, err := authenticate(l.alg, key.bytes(), structure(contextMAC, l.protected, c.External, c.Data))
	if err != nil {
		return nil, err
	}
	return assemble(l.protected, l.unprotected, c.Data, appendBytes(nil, tag), recipients), nil
}

// MacMessage is a COSE_Mac that has been read but not verified: nothing it says is authentic.
type MacMessage struct {
	message
	tag        []byte
	recipients []recipient
}

// ParseMac reads an untagged COSE_Mac with 1 to 16 recipients.
func ParseMac(data []byte) (*MacMessage, error) {
	m := &MacMessage{}
	r, err := m.parse(data, 5)
	if err != nil {
		return nil, err
	}
	var ok bool
	if m.tag, ok = r.bytes(); !ok {
		return nil, malformed("the tag is not a byte string")
	}
	if m.recipients, err = parseRecipients(&r, 1); err != nil {
		return nil, err
	}
	return m, r.finish()
}

// Verify returns the payload if the tag is by the key of the first recipient that find has a key for. Errors:
// ErrMalformed, ErrUnsupported, ErrKey, ErrVerification, or what find said.
func (m *MacMessage) Verify(find FindKey, o Options) ([]byte, error) {
	if err := m.header.check(&o); err != nil {
		return nil, err
	}
	if _, ok := macAlgorithms[m.header.alg]; !ok {
		return nil, unsupported(m.header.alg)
	}
	key, err := unlock(m.recipients, need{m.header.alg, macKeySize, OperationMACVerify}, find, &o)
	if err != nil {
		return nil, err
	}
	toMAC := structure(contextMAC, m.header.protected, o.External, m.content)
	if err := verifyTag(m.header.alg, key.bytes(), toMAC, m.tag); err != nil {
		return nil, err
	}
	return m.content, nil
}
