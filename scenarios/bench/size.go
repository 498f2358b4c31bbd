package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/cwt"
	"github.com/latchkey-ace/latchkey/pop/jose"
	cnfjwe "github.com/latchkey-ace/latchkey/pop/jose/jwe"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// sizeGoals are the longest tokens that are good enough, in bytes: with aud, scope, exp and cnf alone, and as issued.
var sizeGoals = map[provision.Shape][2]float64{
	provision.ShapeEncrypt0:  {130, 185},
	provision.ShapeSign1:     {215, 270},
	provision.ShapeSign1ECDH: {265, 320},
}

var shapeWords = map[provision.Shape]string{
	provision.ShapeEncrypt0:  "Encrypt0, OSCORE material",
	provision.ShapeSign1:     "Sign1, key in an Encrypt0",
	provision.ShapeSign1ECDH: "Sign1, key by ECDH-ES",
	provision.ShapeJWT:       "JWT, key in a JWE",
}

// sizes measures tokens that the server issued, and the shortest that would do.
func (b *bench) sizes(ctx context.Context) error {
	h, err := b.newHouse(ctx, "sizes", provision.ClockNone)
	if err != nil {
		return err
	}
	defer h.store.Close()
	part := fmt.Sprintf("Token sizes, two short paths (%s, %s)", actions[0], actions[1])
	if err := b.sameClaims(part); err != nil {
		return err
	}
	jwt := 0.0 // as issued: the last shape, and the floor of the others
	var issued []row
	for _, shape := range shapes {
		least, err := h.minimal(shape)
		if err != nil {
			return fmt.Errorf("minimal %s: %w", shape, err)
		}
		full, err := h.token(ctx, shape)
		if err != nil {
			return err
		}
		if shape == provision.ShapeJWT {
			jwt = float64(len(full))
		}
		words := "aud, scope, exp, cnf"
		if shape == provision.ShapeJWT {
			words = "what RFC 9068 requires, scope, cnf"
		}
		rows := []row{
			{Part: part, What: shapeWords[shape] + ": " + words, Figure: float64(len(least)), Unit: "B"},
			{Part: part, What: shapeWords[shape] + ": as issued", Figure: float64(len(full)), Unit: "B"},
		}
		if goals, ok := sizeGoals[shape]; ok {
			rows[0], rows[1] = rows[0].atMost(goals[0]), rows[1].atMost(goals[1])
		}
		if shape == provision.ShapeEncrypt0 {
			issued = append(issued, row{Part: part, What: shapeWords[shape] + ": as issued", Figure: float64(len(full)), Unit: "B", Bare: "JWT"})
		}
		b.table.add(rows...)
	}
	for _, r := range issued {
		r.Floor = jwt
		b.table.add(r.atMostTimes(0.30))
	}
	return nil
}

// sameClaims puts a CWT and a JWT side by side that say the same and name the same public key.
func (b *bench) sameClaims(part string) error {
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	key, err := cose.PublicKey(&signer.PublicKey, nil)
	if err != nil {
		return err
	}
	now := time.Now().Truncate(time.Second)
	c := &pop.Claims{
		Issuer: issuer, Subject: "gateway", ClientID: "gateway", Audience: "daaaaaaaaaaaaa", Expires: now.Add(time.Hour), IssuedAt: now,
		ID: make([]byte, 16), Scope: scope(), Confirmation: pop.Confirmation{Key: key},
	}
	binary, err := cwt.Seal(c, cwt.Sign1{Signer: signer, ID: cose.KeyID("1")}, rand.Reader)
	if err != nil {
		return err
	}
	text, err := jose.Sign(c, jose.Signer{Key: signer, ID: "1"})
	if err != nil {
		return err
	}
	r := row{Part: part, What: "CWT with a public COSE_Key", Figure: float64(len(binary)), Unit: "B", Bare: "JWT, same claims", Floor: float64(len(text))}
	b.table.add(r.atMostTimes(0.46))
	return nil
}

// minimal seals the least that says which rights, where, until when, for whose key.
func (h *house) minimal(shape provision.Shape) ([]byte, error) {
	d := h.devices[shape]
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	c := &pop.Claims{Audience: d.Audience(), Expires: time.Now().Add(time.Hour).Truncate(time.Second), Scope: scope()}
	// The id and the secret have the lengths that the server gives them.
	secret, id := make([]byte, 16), make([]byte, 8)
	key := cose.NewSymmetric(secret, id)
	sign := cwt.Sign1{Signer: signer, ID: cose.KeyID("1")}
	switch shape {
	case provision.ShapeEncrypt0:
		c.Confirmation = pop.Confirmation{OSCORE: &pop.InputMaterial{ID: id, MasterSecret: secret}}
		under, err := d.SymmetricKey(provision.PurposeToken, provision.FirstKeyID)
		if err != nil {
			return nil, err
		}
		return cwt.Seal(c, cwt.Encrypt0{Key: under}, rand.Reader)
	case provision.ShapeSign1:
		under, err := d.SymmetricKey(provision.PurposeCnf, provision.FirstKeyID)
		if err != nil {
			return nil, err
		}
		if c.Confirmation.Encrypted, err = cwt.EncryptKey(key, under, rand.Reader); err != nil {
			return nil, err
		}
		return cwt.Seal(c, sign, rand.Reader)
	case provision.ShapeSign1ECDH:
		if c.Confirmation.Encrypted, err = cwt.EncryptKeyTo(key, d.PrivateKey.PublicKey(), rand.Reader); err != nil {
			return nil, err
		}
		return cwt.Seal(c, sign, rand.Reader)
	}
	c.Issuer, c.Subject, c.ClientID, c.IssuedAt, c.ID = issuer, "gateway", "gateway", time.Now().Truncate(time.Second), make([]byte, 16)
	if c.Confirmation.JWE, err = cnfjwe.EncryptKey(secret, id, d.PrivateKey.PublicKey()); err != nil {
		return nil, err
	}
	token, err := jose.Sign(c, jose.Signer{Key: signer, ID: "1"})
	return []byte(token), err
}

func scope() aif.Rights {
	var rights aif.Rights
	for _, a := range actions {
		rights = rights.Union(aif.New(aif.Entry{Path: a.Path, Methods: a.Methods}))
	}
	return rights
}
