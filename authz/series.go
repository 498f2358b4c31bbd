package authz

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/cwt"
	"github.com/latchkey-ace/latchkey/pop/jose"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// A possession key and the tokens for it are a series. Its id leads back to the first of them, so nothing is kept to find
// it by (docs/adr/0042).

// keyID makes the id of a possession key from the id of its first token. For OSCORE it is both halves of the token id, the
// device's and the sequence, laid over each other: unique for the device, and as unlikely to meet another device's as the
// random ids of devices are (RFC 9203 §3.2).
func keyID(d *Device, tokenID []byte) ([]byte, error) {
	if d.Profile == pop.ProfileCoAPDTLS {
		return dtlsKeyID(d, tokenID)
	}
	if len(tokenID) != 2*materialIDSize {
		return nil, fmt.Errorf("token id of %d bytes", len(tokenID))
	}
	return overlay(tokenID[:materialIDSize], tokenID[materialIDSize:]), nil
}

// firstToken is the inverse of keyID; false for what keyID does not make.
func firstToken(d *Device, kid []byte) ([]byte, bool) {
	if d.Profile == pop.ProfileCoAPDTLS {
		return dtlsFirstToken(d, kid)
	}
	if len(kid) != materialIDSize {
		return nil, false
	}
	return append(bytes.Clone(d.ID[:]), overlay(d.ID[:], kid)...), true
}

// overlay is the exclusive or of two byte strings of materialIDSize.
func overlay(a, b []byte) []byte {
	out := make([]byte, materialIDSize)
	for i := range out {
		out[i] = a[i] ^ b[i]
	}
	return out
}

// continueSeries takes a key that an earlier token of this client for this device was bound to (RFC 9203 §3.2, RFC 9202
// §3.3.1). Every other key id gets one answer, so that trying tells nothing.
func (s *Server) continueSeries(ctx context.Context, r *request) error {
	kid := r.ReqCnf.KeyID
	id, ok := firstToken(&r.device, kid)
	if !ok {
		return noSuchKey(&r.device, "not a key id of this server")
	}
	first, err := s.store.Token(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return noSuchKey(&r.device, "unknown key")
	}
	if err != nil {
		return err
	}
	if why := r.notOf(&first); why != "" {
		return noSuchKey(&r.device, why)
	}
	if !s.now().Before(first.lastUse()) || s.now().After(first.IssuedAt.Add(SeriesLife)) {
		return noSuchKey(&r.device, "the series has ended")
	}
	r.key = possession{material: pop.InputMaterial{ID: kid}, series: first.ID}
	return nil
}

// notOf says why a request is not of the series that a token began; "" if it is.
func (r *request) notOf(first *TokenRecord) string {
	switch {
	case first.Client != r.caller.Client.ID:
		return "key of another client"
	case first.User != r.shown.user:
		return "key of another user"
	case first.Series != nil:
		return "not the first token of its series"
	case !first.Revoked.IsZero():
		return "key of a revoked token"
	}
	return ""
}

// lastUse is when the last token of the series a device may still take for live ends: the store keeps the first one so long.
func (t *TokenRecord) lastUse() (end time.Time) {
	if t.Kept.After(t.Expires) {
		return t.Kept
	}
	return t.Expires
}

// noSuchKey is one misuse with two codes: RFC 9202 §4 has its own for it, RFC 9203 §3.2 has not.
func noSuchKey(d *Device, reason string) error {
	told := &ace.Error{Code: ace.InvalidRequest, Description: "req_cnf: this client has no such key for this device"}
	if d.Profile == pop.ProfileCoAPDTLS {
		told.Code = ace.UnsupportedPoPKey
	}
	return &reasonError{told: told, reason: "req_cnf: " + reason}
}

// update reports whether the token only names a key that the device has from an earlier one.
func (k *possession) update() bool { return k.material.MasterSecret == nil }

// sealUpdate makes a token that names its key and does not hold it (RFC 9203 §3.2, D7).
func sealUpdate(p *press, c *pop.Claims, m pop.InputMaterial) ([]byte, error) {
	d := p.device
	c.Confirmation.KeyID = m.ID
	switch d.Shape {
	case provision.ShapeEncrypt0:
		key, err := provision.SymmetricKey(d.RootKey, provision.PurposeToken, d.ID, provision.FirstKeyID)
		if err != nil {
			return nil, err
		}
		return cwt.Seal(c, cwt.Encrypt0{Key: key}, p.rand)
	case provision.ShapeJWT:
		token, err := jose.Sign(c, p.signer)
		return []byte(token), err
	}
	return p.sign(c)
}
