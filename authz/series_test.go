package authz_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"errors"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/cwt"
	"github.com/latchkey-ace/latchkey/pop/jose"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// keyIDOf is the kid under which a client got its key.
func keyIDOf(out *ace.TokenResponse) cose.KeyID {
	if out.Cnf.OSCORE != nil {
		return out.Cnf.OSCORE.ID
	}
	return out.Cnf.Key.ID()
}

// updating asks for a new token for a key.
func updating(n byte, kid []byte) *ace.TokenRequest {
	in := own(n)
	in.ReqCnf = &pop.Confirmation{KeyID: kid}
	return in
}

// claimsOf reads a token as device n does, whatever its confirmation is.
func (w *world) claimsOf(n byte, shape provision.Shape, token []byte) *pop.Claims {
	w.t.Helper()
	r := w.reader(n)
	if shape == provision.ShapeJWT {
		c, err := jose.Open(string(token), r.verify)
		w.must(err)
		return c
	}
	c, err := cwt.Open(token, cwt.Keys{
		Decrypt: cose.Only(r.token), RequireSignature: shape.Signed(),
		Verify: func(_ cose.Algorithm, kid cose.KeyID) (*ecdsa.PublicKey, error) { return r.verify(string(kid)) },
	})
	w.must(err)
	return c
}

// TestKeyIDsLeadBack: the id of a key is the two halves of its first token's id laid over each other.
func TestKeyIDsLeadBack(t *testing.T) {
	w := newWorld(t)
	w.give(toGateway, view)
	seen := map[string]bool{}
	for range 20 {
		out := w.granted(w.gateway, own(1))
		id := w.claimsOf(1, provision.ShapeEncrypt0, out.AccessToken).ID
		want := make([]byte, 8)
		for i := range want {
			want[i] = id[i] ^ id[8+i]
		}
		if kid := keyIDOf(out); !bytes.Equal(kid, want) || seen[string(kid)] {
			t.Errorf("key id %x of token %x", kid, id)
		}
		seen[string(keyIDOf(out))] = true
	}
}

// TestUpdateOfRights: in each shape and profile a later token names the key, holds none, and the answer has no cnf (RFC 9203
// §3.2, RFC 9202 §4).
func TestUpdateOfRights(t *testing.T) {
	dtls := func(d *authz.Device) { d.Profile = pop.ProfileCoAPDTLS }
	for name, change := range map[string]func(*authz.Device){
		"coap_dtls":     dtls,
		"encrypt0":      func(*authz.Device) {},
		"sign1":         func(d *authz.Device) { d.Shape = provision.ShapeSign1 },
		"sign1 private": func(d *authz.Device) { d.Shape, d.Private = provision.ShapeSign1, true },
		"sign1-ecdh":    func(d *authz.Device) { d.Shape = provision.ShapeSign1ECDH },
		"jwt":           func(d *authz.Device) { d.Shape = provision.ShapeJWT },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			d := w.device(2, change)
			w.give(func(g *authz.Grant) { toGateway(g); g.Device = deviceID(2) }, view, unlock)
			in := own(2)
			in.Scope.Words = "view"
			first := w.granted(w.gateway, in)
			kid := keyIDOf(first)
			in = updating(2, kid)
			in.TokenUpload, in.ToRS, in.Profile = ptr(ace.UploadWantToken), toRS, ace.TellProfile()
			out := w.granted(w.gateway, in)
			if out.Cnf != nil || out.TokenUpload != nil || out.AccessToken == nil || out.Profile != d.Profile || out.ExpiresIn == 0 {
				t.Errorf("cnf %v, upload %v, profile %v", out.Cnf, out.TokenUpload, out.Profile)
			}
			claims := w.claimsOf(2, d.Shape, out.AccessToken)
			if c := claims.Confirmation; !bytes.Equal(c.KeyID, kid) || c.Key != nil || c.OSCORE != nil || c.Encrypted != nil || c.JWE != "" {
				t.Errorf("cnf is not the kid alone: %+v", claims.Confirmation)
			}
			records := w.tokens(2)
			if len(records) != 2 || records[0].Series != nil || !bytes.Equal(records[1].Series, records[0].ID) {
				t.Errorf("records %+v", records)
			}
			// And a third for the same key, but not by the id of the second.
			w.granted(w.gateway, updating(2, kid))
			if len(w.courier.got()) != 0 {
				t.Error("an update was uploaded")
			}
		})
	}
}

// TestKeysThatAreNotTheirs: unknown, foreign, revoked and ended ones get one answer; the log says why.
func TestKeysThatAreNotTheirs(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.give(toGateway, view)
		w.device(2, nil)
		w.give(func(g *authz.Grant) { toGateway(g); g.Device = deviceID(2) }, view)
		other := w.gateway
		other.ID = "other"
		w.client(other)
		w.give(func(g *authz.Grant) { g.To = authz.Subject{Client: "other"} }, view)
		both := w.gateway
		both.ID, both.GrantTypes = "both", []string{authz.ClientCredentials, authz.AuthorizationCode}
		both.RedirectURIs = []string{back}
		w.client(both)
		w.give(func(g *authz.Grant) { g.To = authz.Subject{Client: "both"} }, view)
		w.give(nil, view)

		kid := keyIDOf(w.granted(w.gateway, own(1)))
		update := w.granted(w.gateway, updating(1, kid))
		second := w.claimsOf(1, provision.ShapeEncrypt0, update.AccessToken).ID
		ask := question()
		ask.ClientID = "both"
		code := redemption(w.ask("mother", ask).Get("code"))
		code.ClientID, code.ReqCnf = "both", &pop.Confirmation{KeyID: keyIDOf(w.granted(both, own(1)))}

		invented := bytes.Clone(kid)
		invented[7] ^= 0x55
		ofSecond := make([]byte, 8)
		for i := range ofSecond {
			ofSecond[i] = second[i] ^ second[8+i]
		}
		for _, tt := range []struct {
			name, reason string
			by           authz.Client
			in           *ace.TokenRequest
		}{
			{"an invented kid", "req_cnf: unknown key", w.gateway, updating(1, invented)},
			{"a short kid", "req_cnf: not a key id of this server", w.gateway, updating(1, kid[:7])},
			{"of another client", "req_cnf: key of another client", other, updating(1, kid)},
			{"for another device", "req_cnf: unknown key", w.gateway, updating(2, kid)},
			{"of an update", "req_cnf: not the first token of its series", w.gateway, updating(1, ofSecond)},
			{"of another user", "req_cnf: key of another user", both, code},
		} {
			_, err := w.token(tt.by, tt.in)
			w.refused(err, ace.InvalidRequest, tt.reason)
			if wire := new(ace.Error); errors.As(err, &wire) && wire.Description != "req_cnf: this client has no such key for this device" {
				t.Errorf("%s: told %q", tt.name, wire.Description)
			}
		}
		code.ReqCnf = nil
		w.granted(both, code) // the code was not burnt

		_, err := w.store.End(t.Context(), authz.EndSpec{Token: w.tokens(1)[0].ID}, w.clock.now())
		w.must(err)
		_, err = w.token(w.gateway, updating(1, kid))
		w.refused(err, ace.InvalidRequest, "req_cnf: key of a revoked token")
	})
}

// TestSeriesEnd: a series lives as long as a token of it does, and no longer than SeriesLife.
func TestSeriesEnd(t *testing.T) {
	w := newWorld(t)
	w.give(toGateway, view)
	kid := keyIDOf(w.granted(w.gateway, own(1)))
	w.clock.move(authz.TokenLife - time.Second)
	w.granted(w.gateway, updating(1, kid))
	w.clock.move(authz.TokenLife - time.Second) // the first is over, the second is not
	_, err := w.store.Sweep(t.Context(), w.clock.now(), 100)
	w.must(err)
	w.granted(w.gateway, updating(1, kid))
	w.clock.move(authz.TokenLife)
	_, err = w.token(w.gateway, updating(1, kid))
	w.refused(err, ace.InvalidRequest, "req_cnf: the series has ended")

	kid = keyIDOf(w.granted(w.gateway, own(1)))
	for end := w.clock.now().Add(authz.SeriesLife); w.clock.now().Add(time.Hour / 2).Before(end); {
		w.clock.move(time.Hour / 2)
		w.granted(w.gateway, updating(1, kid))
	}
	w.clock.move(time.Hour/2 + time.Second)
	_, err = w.token(w.gateway, updating(1, kid))
	w.refused(err, ace.InvalidRequest, "req_cnf: the series has ended")
}

// TestSeriesRevokedMeanwhile: between look-up and transaction the first token is revoked; nothing is given.
func TestSeriesRevokedMeanwhile(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.give(toGateway, view)
		kid := keyIDOf(w.granted(w.gateway, own(1)))
		w.store = &meanwhile{Store: w.store, do: func(s authz.Store) {
			first := w.tokens(1)[0]
			_, err := s.End(t.Context(), authz.EndSpec{Token: first.ID}, w.clock.now())
			w.must(err)
		}}
		w.serve(authz.Options{})
		_, err := w.token(w.gateway, updating(1, kid))
		w.refused(err, ace.InvalidRequest, "req_cnf: the series has ended")
		if n := len(w.tokens(1)); n != 0 {
			t.Errorf("%d tokens live", n)
		}
	})
}

// meanwhile does something right after a token was looked up.
type meanwhile struct {
	authz.Store
	do func(authz.Store)
}

func (m *meanwhile) Mint(ctx context.Context, spec authz.MintSpec, issue func(authz.Minting) (authz.Issued, error)) error {
	m.do(m.Store)
	return m.Store.Mint(ctx, spec, issue)
}
