package cwt

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// Confirmation methods (IANA CWT Confirmation Methods), in registry order.
const (
	methodKey        int64 = 1
	methodEncrypted  int64 = 2
	methodKeyID      int64 = 3
	methodOSCORE     int64 = 4
	methodThumbprint int64 = 5
)

var (
	errNoMethod    = errors.New("no confirmation method that is known here")
	errManyMethods = errors.New("more than one confirmation method")
)

type confirmation struct {
	Key        wire.RawMessage `cbor:"1,keyasint,omitempty"`
	Encrypted  wire.RawMessage `cbor:"2,keyasint,omitempty"`
	KeyID      []byte          `cbor:"3,keyasint,omitempty"`
	OSCORE     wire.RawMessage `cbor:"4,keyasint,omitempty"`
	Thumbprint []byte          `cbor:"5,keyasint,omitempty"`
}

// methods counts the fields that are set.
func methods(c *pop.Confirmation) int {
	n := 0
	for _, set := range []bool{c.Key != nil, c.Encrypted != nil, c.KeyID != nil, c.OSCORE != nil, c.Thumbprint != nil, c.JWE != ""} {
		if set {
			n++
		}
	}
	return n
}

// EncodeConfirmation gives the map that the claim cnf and the parameters cnf and req_cnf hold (RFC 8747 §3.1, RFC 9201
// §3, RFC 9203 §3.2.1, RFC 9679 §5.6). Exactly one method must be set, and not JWE.
func EncodeConfirmation(c pop.Confirmation) ([]byte, error) {
	if c.Encrypted != nil {
		if err := checkEncrypted(c.Encrypted); err != nil {
			return nil, err
		}
	}
	return encodeConfirmation(&c)
}

// encodeConfirmation leaves it to its caller to look at an encrypted key.
func encodeConfirmation(c *pop.Confirmation) ([]byte, error) {
	if n := methods(c); n == 0 || c.JWE != "" {
		return nil, errNoMethod
	} else if n > 1 {
		return nil, errManyMethods
	}
	var m confirmation
	var err error
	switch {
	case c.Key != nil:
		m.Key, err = c.Key.Encode() // without a private part
	case c.Encrypted != nil:
		m.Encrypted = c.Encrypted
	case c.KeyID != nil:
		m.KeyID, err = c.KeyID, checkKeyID(c.KeyID)
	case c.OSCORE != nil:
		m.OSCORE, err = EncodeInputMaterial(c.OSCORE)
	case c.Thumbprint != nil:
		m.Thumbprint, err = c.Thumbprint, checkThumbprint(c.Thumbprint)
	}
	if err != nil {
		return nil, err
	}
	return wire.Marshal(m)
}

// ParseConfirmation reads such a map. More than one known method is refused, and so is none: a token bound to a key in a
// way we do not know is not a token without a key. Unknown members beside a known one are ignored (RFC 8747 §3.1).
func ParseConfirmation(data []byte) (pop.Confirmation, error) {
	var c pop.Confirmation
	var space room
	m, err := parseMap(data, &space)
	if err != nil {
		return c, fmt.Errorf("cnf: %w", err)
	}
	n := 0
	for _, r := range methodReaders {
		raw, ok := m.get(r.label)
		if !ok {
			continue
		}
		if err := r.read(&c, raw); err != nil {
			return pop.Confirmation{}, fmt.Errorf("cnf method %d: %w", r.label, err)
		}
		n++
	}
	switch n {
	case 1:
		return c, nil
	case 0:
		return pop.Confirmation{}, errNoMethod
	}
	return pop.Confirmation{}, errManyMethods
}

var methodReaders = []struct {
	label int64
	read  func(*pop.Confirmation, wire.RawMessage) error
}{
	{methodKey, func(c *pop.Confirmation, raw wire.RawMessage) (err error) {
		c.Key, err = cose.ParseKey(raw)
		return err
	}},
	{methodEncrypted, func(c *pop.Confirmation, raw wire.RawMessage) error {
		c.Encrypted = bytes.Clone(raw)
		return checkEncrypted(raw)
	}},
	{methodKeyID, func(c *pop.Confirmation, raw wire.RawMessage) error {
		id, err := byteString(raw)
		if err != nil {
			return err
		}
		c.KeyID = id
		return checkKeyID(id)
	}},
	{methodOSCORE, func(c *pop.Confirmation, raw wire.RawMessage) (err error) {
		c.OSCORE, err = ParseInputMaterial(raw)
		return err
	}},
	{methodThumbprint, func(c *pop.Confirmation, raw wire.RawMessage) error {
		print, err := byteString(raw)
		if err != nil {
			return err
		}
		c.Thumbprint = print
		return checkThumbprint(print)
	}},
}

func checkKeyID(id cose.KeyID) error {
	if len(id) == 0 || len(id) > cose.MaxKeyID {
		return fmt.Errorf("key id of %d bytes, want 1 to %d", len(id), cose.MaxKeyID)
	}
	return nil
}

func checkThumbprint(print []byte) error {
	if len(print) != sha256.Size {
		return fmt.Errorf("thumbprint of %d bytes, want %d", len(print), sha256.Size)
	}
	return nil
}

// Shapes of an Encrypted_COSE_Key: the first byte of an array of three or four items.
const (
	headEncrypt0 = 0x83
	headEncrypt  = 0x84
)

// checkEncrypted demands an untagged COSE_Encrypt0 or COSE_Encrypt, so that a key in clear cannot pass for one. Detached
// content would leave no key in it.
func checkEncrypted(data []byte) error {
	_, _, err := cose.Detach(data)
	if err != nil {
		return err
	}
	switch {
	case len(data) > 0 && data[0] == headEncrypt0:
		_, err = cose.ParseEncrypt0(data)
	case len(data) > 0 && data[0] == headEncrypt:
		_, err = cose.ParseEncrypt(data)
	default:
		err = errors.New("neither COSE_Encrypt0 nor COSE_Encrypt")
	}
	return err
}
