package resource

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"errors"
	"fmt"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/cwt"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// cwtOpener opens the CWTs of the device's one shape; a token of another shape is not protected as far as it knows.
type cwtOpener struct {
	keys    cwt.Keys
	decrypt cwt.KeyOpener // zero where no Encrypted_COSE_Key is taken
}

// Open implements TokenOpener.
func (c *cwtOpener) Open(token []byte) (*pop.Claims, error) {
	claims, err := cwt.Open(token, c.keys)
	switch {
	case errors.Is(err, cwt.ErrProtection):
		return nil, fmt.Errorf("%w: %w", ErrBadProtection, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return claims, nil
}

func newCWTOpener(d *provision.Device) (*cwtOpener, error) {
	sealed := func(purpose provision.Purpose) cose.FindSymmetric {
		// The key id is an input of the derivation, so a rotated key needs no announcement (D2).
		return func(_ cose.Algorithm, kid cose.KeyID) (cose.SymmetricKey, error) { return d.SymmetricKey(purpose, kid) }
	}
	c := &cwtOpener{keys: cwt.Keys{Decrypt: sealed(provision.PurposeToken)}}
	if d.Token.Signed() {
		c.keys.Verify = func(_ cose.Algorithm, kid cose.KeyID) (*ecdsa.PublicKey, error) { return verifier(d.ASKeys, kid) }
		c.keys.RequireSignature = true
	}
	switch d.Token {
	case provision.ShapeEncrypt0:
	case provision.ShapeSign1:
		c.decrypt.Shared = sealed(provision.PurposeCnf)
	case provision.ShapeSign1ECDH:
		c.decrypt.Private = func(cose.Algorithm, cose.KeyID) (*ecdh.PrivateKey, error) { return d.PrivateKey, nil }
	default:
		return nil, fmt.Errorf("tokens of shape %s need an opener of their own", d.Token)
	}
	return c, nil
}

func verifier(keys []*cose.Key, kid cose.KeyID) (*ecdsa.PublicKey, error) {
	for _, key := range keys {
		if bytes.Equal(key.ID(), kid) {
			return key.Public(), nil
		}
	}
	return nil, errors.New("unknown key id")
}

// Material implements TokenOpener. Which form a confirmation may have follows from the shape: input material only where
// the whole token is encrypted, an encrypted key only where it is signed (D7).
func (c *cwtOpener) Material(cnf pop.Confirmation) (pop.InputMaterial, error) {
	switch {
	case cnf.OSCORE != nil && !c.keys.RequireSignature:
		return *cnf.OSCORE, nil
	case cnf.Encrypted != nil && c.keys.RequireSignature:
		key, err := cwt.DecryptKey(cnf.Encrypted, c.decrypt)
		if err != nil {
			return pop.InputMaterial{}, fmt.Errorf("%w: %w", ErrBadConfirmation, err)
		}
		return pop.InputMaterial{ID: key.ID(), MasterSecret: key.Secret()}, nil
	}
	return pop.InputMaterial{}, fmt.Errorf("%w: not the kind this device takes", ErrBadConfirmation)
}

// Hashes implements TokenOpener.
func (c *cwtOpener) Hashes(token []byte) [][]byte {
	hash := cwt.Hash(token)
	return [][]byte{hash[:]}
}
