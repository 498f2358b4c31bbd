// Package jwt lets a resource server take JSON Web Tokens with an encrypted possession key (RFC 9068, RFC 7800 §3.3, D8).
//
// It is a resource.TokenOpener and the one room between resource and pop/jose, so that devices which take CWTs alone do not
// carry a JSON library. It judges nothing but protection and form. Start from New.
package jwt

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"errors"
	"fmt"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/cwt"
	"github.com/latchkey-ace/latchkey/pop/jose"
	cnfjwe "github.com/latchkey-ace/latchkey/pop/jose/jwe"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/resource"
)

// Opener opens the JWTs of one device.
type Opener struct {
	keys    []*cose.Key
	private *ecdh.PrivateKey
}

var _ resource.TokenOpener = (*Opener)(nil)

// New takes the keys of a device whose record says that it takes JWTs.
func New(d *provision.Device) (*Opener, error) {
	if d.Token != provision.ShapeJWT {
		return nil, fmt.Errorf("the device takes tokens of shape %s, not jwt", d.Token)
	}
	if d.PrivateKey == nil || len(d.ASKeys) == 0 {
		return nil, errors.New("jwt: the device has no private key, or its server none to verify with")
	}
	return &Opener{keys: d.ASKeys, private: d.PrivateKey}, nil
}

// Open implements resource.TokenOpener. token is the compact JWS in ASCII.
func (o *Opener) Open(token []byte) (*pop.Claims, error) {
	claims, err := jose.Open(string(token), o.find)
	switch {
	case errors.Is(err, jose.ErrProtection):
		return nil, fmt.Errorf("%w: %w", resource.ErrBadProtection, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", resource.ErrMalformed, err)
	}
	return claims, nil
}

func (o *Opener) find(kid string) (*ecdsa.PublicKey, error) {
	for _, key := range o.keys {
		if string(key.ID()) == kid {
			return key.Public(), nil
		}
	}
	return nil, errors.New("unknown key id")
}

// Material implements resource.TokenOpener: k and kid of the encrypted key serve as master secret and id (D8).
func (o *Opener) Material(cnf pop.Confirmation) (pop.InputMaterial, error) {
	if cnf.JWE == "" {
		return pop.InputMaterial{}, fmt.Errorf("%w: no jwe", resource.ErrBadConfirmation)
	}
	k, kid, err := cnfjwe.DecryptKey(cnf.JWE, o.private)
	if err != nil {
		return pop.InputMaterial{}, fmt.Errorf("%w: %w", resource.ErrBadConfirmation, err)
	}
	return pop.InputMaterial{ID: kid, MasterSecret: k}, nil
}

// Hashes implements resource.TokenOpener. Which of the two a revocation names depends on how the client got the token,
// which the device does not know (RFC 9770 §4).
func (o *Opener) Hashes(token []byte) [][]byte {
	asJSON, asCBOR := cwt.HashJWT(string(token))
	return [][]byte{asJSON[:], asCBOR[:]}
}
