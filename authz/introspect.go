package authz

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/cwt"
	"github.com/latchkey-ace/latchkey/pop/jose"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// Asker is who asks about a token, as a face has authenticated it: a device over its channel, or a client.
type Asker struct {
	Device   provision.DeviceID // zero: a client asks
	Client   Client
	Encoding Encoding // of the answer; some confirmations have a form in one of them only
}

// ErrNotEntitled says that the asker may not ask about any token: 403 or 4.03 with an empty payload (RFC 9200 §5.9.3).
var ErrNotEntitled = errors.New("may not ask about tokens")

// Introspect answers whether a token is active, and then what it says (RFC 7662, RFC 9200 §5.9): to the device or API that the
// token is for, with the possession key where the token itself does not bring it, and to the client that it was issued to. Of
// every other token the answer is that it is not active: of one that nobody made, that is malformed, foreign, expired or
// revoked alike. Nothing is cached: an answer is as of the store now.
//
// Errors: ErrNotEntitled; any other is a fault of this server.
func (s *Server) Introspect(ctx context.Context, by Asker, token []byte) (*ace.IntrospectionResponse, error) {
	rs, err := s.resourceServer(ctx, &by)
	if errors.Is(err, ErrNotEntitled) {
		s.audit(ctx, AuditEntry{Event: "introspect", Result: "refused", Client: by.Client.ID, Reason: err.Error()})
	}
	if err != nil {
		return nil, err
	}
	shown, err := s.read(ctx, token, &rs, by.Client.ID != "")
	if err != nil {
		return nil, err
	}
	record, active, err := s.standing(ctx, shown.id, token, Parties{Client: by.Client.ID, Device: rs.ID})
	if err != nil {
		return nil, fmt.Errorf("introspect: %w", err)
	}
	forRS := record.Device == rs.ID && rs.ID != provision.DeviceID{}
	own := record.Client == by.Client.ID && by.Client.ID != ""
	if !active || !forRS && !own {
		return &ace.IntrospectionResponse{}, nil
	}
	return s.describe(ctx, &shown, &record, aspect{withKey: forRS, encoding: by.Encoding})
}

// resourceServer finds the device or API that the asker is; the zero Device for a client that is none.
func (s *Server) resourceServer(ctx context.Context, by *Asker) (Device, error) {
	id := by.Device
	if by.Client.ID != "" {
		if by.Client.Public() || !by.Client.SuspendedAt.IsZero() {
			return Device{}, ErrNotEntitled // a public client has shown its name only
		}
		id = by.Client.Serves
	}
	if id == (provision.DeviceID{}) {
		return Device{}, nil
	}
	d, err := s.store.Device(ctx, id)
	switch {
	case errors.Is(err, ErrNotFound):
		return Device{}, ErrNotEntitled
	case err != nil:
		return Device{}, fmt.Errorf("introspect: %w", err)
	case !d.SuspendedAt.IsZero() || d.State == DeviceDecommissioned:
		return Device{}, ErrNotEntitled
	}
	return d, nil
}

// standing finds what is known of a token and whether it is active. A token that was not even read costs the same look-ups.
func (s *Server) standing(ctx context.Context, id, token []byte, asker Parties) (TokenRecord, bool, error) {
	if id == nil {
		id = make([]byte, 2*materialIDSize)
	}
	record, err := s.store.Token(ctx, id)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return TokenRecord{}, false, err
	}
	known := err == nil && isHash(token, &record)
	parties := asker
	if known {
		parties = Parties{Client: record.Client, User: record.User, Grant: record.Grant, Device: record.Device}
	} else {
		record = TokenRecord{}
	}
	now := s.now()
	live, err := s.live(ctx, parties, now)
	active := known && live && record.Revoked.IsZero() && now.Before(record.Expires)
	return record, active, err
}

// live tells what has become of the parties from a fault of the store.
func (s *Server) live(ctx context.Context, p Parties, now time.Time) (bool, error) {
	err := s.store.Live(ctx, p, now)
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, new(*SuspendedError)), errors.Is(err, ErrGrantEnded), errors.Is(err, ErrNotFound):
		return false, nil
	}
	return false, err
}

// isHash compares both hashes that a token may have been remembered by, in constant time.
func isHash(token []byte, t *TokenRecord) bool {
	plain := cwt.Hash(token)
	asJSON, asCBOR := cwt.HashJWT(string(token))
	same := subtle.ConstantTimeCompare(plain[:], t.Hash)
	same |= subtle.ConstantTimeCompare(asJSON[:], t.Hash)
	same |= subtle.ConstantTimeCompare(asCBOR[:], t.Hash)
	return same == 1
}

// aspect is what an asker is shown of a token.
type aspect struct {
	withKey  bool // the asker is to know the possession key
	encoding Encoding
}

// describe is the answer about an active token.
func (s *Server) describe(ctx context.Context, shown *shownToken, t *TokenRecord, a aspect) (*ace.IntrospectionResponse, error) {
	out := &ace.IntrospectionResponse{Active: true, Words: shown.words, TokenType: shown.tokenType, Binding: shown.binding}
	claims := shown.claims
	if claims == nil {
		if t.Claims == nil {
			return &ace.IntrospectionResponse{}, nil
		}
		var err error
		if claims, err = cwt.ParseClaims(t.Claims); err != nil {
			return nil, fmt.Errorf("introspect: %w", err)
		}
	}
	out.Claims = *claims
	out.Claims.Unknown = nil
	out.Claims.Issuer, out.Claims.ClientID = s.issuer, t.Client
	out.Claims.Confirmation = confirmed(claims.Confirmation, t, a)
	if a.encoding == EncodingJSON && out.Words == "" && claims.Scope != nil {
		d, err := s.store.Device(ctx, t.Device)
		if err != nil {
			return nil, fmt.Errorf("introspect: %w", err)
		}
		out.Words = wordsFor(&d, &out.Claims)
	}
	return out, nil
}

// wordsFor says rights in the device's own words, unless others point into their order (D6).
func wordsFor(d *Device, c *pop.Claims) string {
	words := strings.Join(d.Names(c.Scope), " ")
	if c.Grant != nil && len(c.Grant.Once) > 0 || len(words) > maxScopeWords {
		return ""
	}
	return words
}

// confirmed is the confirmation as the asker is to see it. A client has its key and gets the id of it alone; so does who asks
// in an encoding that has no form for an encrypted key, which the token itself brings.
func confirmed(c pop.Confirmation, t *TokenRecord, a aspect) pop.Confirmation {
	secret := c.OSCORE != nil || c.Key != nil && c.Key.Secret() != nil
	encrypted := c.Encrypted != nil || c.JWE != ""
	formless := c.Encrypted != nil && a.encoding == EncodingJSON || c.JWE != "" && a.encoding == EncodingCBOR
	switch {
	case secret && !a.withKey && c.OSCORE != nil:
		return pop.Confirmation{KeyID: c.OSCORE.ID}
	case secret && !a.withKey:
		return pop.Confirmation{KeyID: c.Key.ID()}
	case formless || encrypted && !a.withKey:
		first := t.ID
		if t.Series != nil {
			first = t.Series
		}
		return pop.Confirmation{KeyID: overlay(first[:materialIDSize], first[materialIDSize:])} // signed tokens are for OSCORE
	}
	return c
}

// SignIntrospection wraps the JSON of an answer for its asker (RFC 9701 §5).
func (s *Server) SignIntrospection(ctx context.Context, by Asker, answer []byte) (string, error) {
	audience := by.Client.ID
	if rs, err := s.resourceServer(ctx, &by); err == nil && rs.Resource != "" {
		audience = rs.Resource
	}
	signer, err := s.signingKeys(ctx).signer(&Device{}, s.now())
	if err != nil {
		return "", fmt.Errorf("introspect: %w", err)
	}
	token, err := jose.Make(jose.TypeIntrospection, jose.Registered{Issuer: s.issuer, Audience: []string{audience}, IssuedAt: s.now()},
		map[jose.Claim]any{jose.ClaimIntrospection: json.RawMessage(answer)}, signer)
	if err != nil {
		return "", fmt.Errorf("introspect: %w", err)
	}
	return token, nil
}
