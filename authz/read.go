package authz

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/cwt"
	"github.com/latchkey-ace/latchkey/pop/jose"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// shownToken is what can be read from a token that somebody shows. Its zero value is a token that is not ours.
type shownToken struct {
	id        []byte
	claims    *pop.Claims       // nil: the token says nothing itself
	words     string            // scope of a token for an HTTP API
	tokenType string            // as introspection names it
	binding   map[string]string // cnf of a token for an HTTP API
}

// read opens a token of ours, as it is shown by the resource server rs or by a client. That it is on record, and for whom, is
// still to be seen.
func (s *Server) read(ctx context.Context, token []byte, rs *Device, byClient bool) (shownToken, error) {
	s.signingKeys(ctx) // another process may have withdrawn one
	if len(token) == 2*materialIDSize+referenceSecret {
		return shownToken{id: token[:2*materialIDSize], tokenType: "PoP"}, nil
	}
	if bytes.HasPrefix(token, encryptedHead) {
		claims := s.openCWT(token, rs)
		if claims == nil && byClient {
			var err error
			if claims, err = s.search(ctx, token); err != nil {
				return shownToken{}, err
			}
		}
		return ofDevice(claims), nil
	}
	if claims := s.openCWT(token, nil); claims != nil {
		return ofDevice(claims), nil
	}
	claims, err := jose.Open(string(token), s.findKey)
	if err == nil {
		return ofDevice(claims), nil
	}
	return s.readAccess(string(token)), nil
}

// ofDevice is a token that is for a device.
func ofDevice(c *pop.Claims) shownToken {
	if c == nil || len(c.ID) != 2*materialIDSize {
		return shownToken{}
	}
	return shownToken{id: c.ID, claims: c, tokenType: "PoP"}
}

// encryptedHead is how an encrypted CWT begins: 61(16(…)).
var encryptedHead = []byte{0xd8, 0x3d, 0xd0}

// openCWT opens a CWT that d, or with d nil anyone, could read; nil if it is none.
func (s *Server) openCWT(token []byte, d *Device) *pop.Claims {
	keys := cwt.Keys{Verify: func(_ cose.Algorithm, kid cose.KeyID) (*ecdsa.PublicKey, error) { return s.findKey(string(kid)) }}
	if d != nil && d.RootKey != nil {
		keys.Decrypt = func(_ cose.Algorithm, kid cose.KeyID) (cose.SymmetricKey, error) {
			return provision.SymmetricKey(d.RootKey, provision.PurposeToken, d.ID, kid)
		}
	}
	claims, err := cwt.Open(token, keys)
	if err != nil {
		return nil
	}
	return claims
}

var errUnknownSigner = errors.New("not a key of this server")

func (s *Server) findKey(kid string) (*ecdsa.PublicKey, error) {
	if key := s.keys.state.Load().find(kid); key != nil {
		return &key.signer.PublicKey, nil
	}
	return nil, errUnknownSigner
}

// search opens an encrypted token of a client, which does not say for which device it is, by trying each: some microseconds
// for each device. One search runs at a time, so that they cannot take the server from others.
func (s *Server) search(ctx context.Context, token []byte) (*pop.Claims, error) {
	select {
	case s.searching <- struct{}{}:
		defer func() { <-s.searching }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	devices, err := s.store.Devices(ctx)
	if err != nil {
		return nil, fmt.Errorf("find token: %w", err)
	}
	for i := range devices {
		if claims := s.openCWT(token, &devices[i]); claims != nil {
			return claims, nil
		}
	}
	return nil, nil
}

// readAccess opens a token for an HTTP API (RFC 9068), whose confirmation is none of a device's. Its times are judged by what
// is on record.
func (s *Server) readAccess(token string) shownToken {
	t, err := jose.Verify(token, jose.Expect{Type: jose.TypeAccessToken, Issuer: s.issuer, Keys: func(kid string) (*jose.Key, error) {
		public, err := s.findKey(kid)
		if err != nil {
			return nil, err
		}
		return jose.NewKey(public, kid)
	}})
	if err != nil || len(t.Audience) != 1 {
		return shownToken{}
	}
	id, err1 := base64.RawURLEncoding.DecodeString(t.ID)
	words, err2 := t.Text(jose.ClaimScope, maxScopeWords)
	if err1 != nil || err2 != nil || len(id) != 2*materialIDSize {
		return shownToken{}
	}
	out := shownToken{id: id, words: words, tokenType: "Bearer", claims: &pop.Claims{
		Subject: t.Subject, Audience: t.Audience[0], Expires: t.Expires, NotBefore: t.NotBefore, IssuedAt: t.IssuedAt, ID: id,
	}}
	if c := t.Confirmation; c != nil && c.Thumbprint != (jose.Thumbprint{}) {
		out.tokenType, out.binding = "DPoP", map[string]string{"jkt": c.Thumbprint.String()} // RFC 9449 §6.2
	} else if c != nil && c.Certificate != (jose.Thumbprint{}) {
		out.binding = map[string]string{"x5t#S256": c.Certificate.String()} // RFC 8705 §3.2
	}
	return out
}
