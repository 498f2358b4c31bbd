package authz

import (
	"fmt"
	"io"
	"slices"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/cwt"
)

// A reference token says nothing itself: the resource server asks about it (RFC 7662). It is the token's id and a secret, so
// that it is found by its id and good by its hash, which alone rests here (D3).

// sealReference makes such a token.
func sealReference(p *press, c *pop.Claims, m pop.InputMaterial) ([]byte, error) {
	c.Confirmation = confirmationOf(p.device, m)
	if m.MasterSecret == nil {
		c.Confirmation = pop.Confirmation{KeyID: m.ID}
	}
	token := append(slices.Clone(c.ID), make([]byte, referenceSecret)...)
	if _, err := io.ReadFull(p.rand, token[len(c.ID):]); err != nil {
		return nil, fmt.Errorf("reference token: %w", err)
	}
	return token, nil
}

// sealerOf finds how the device's tokens are made.
func sealerOf(d *Device, key *possession) (seal sealer, ok bool) {
	seal, ok = shapes[d.Shape]
	switch {
	case d.Delivery == DeliveryIntrospect:
		return sealReference, true
	case key.update():
		return sealUpdate, ok
	}
	return seal, ok
}

// remembered is what introspection will tell of a token that says nothing itself; nil for others.
func remembered(d *Device, c *pop.Claims) ([]byte, error) {
	if d.Delivery != DeliveryIntrospect {
		return nil, nil
	}
	return cwt.EncodeClaims(c)
}
