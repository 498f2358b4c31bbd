package authz_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/cwt"
	"github.com/latchkey-ace/latchkey/pop/jose"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

func askingDevice(n byte) authz.Asker {
	return authz.Asker{Device: deviceID(n), Encoding: authz.EncodingCBOR}
}

func askingClient(c authz.Client) authz.Asker { return authz.Asker{Client: c} }

// introspect wants an answer.
func (w *world) introspect(by authz.Asker, token []byte) *ace.IntrospectionResponse {
	w.t.Helper()
	out, err := w.server.Introspect(w.t.Context(), by, token)
	w.must(err)
	return out
}

// inactive wants active false and nothing more.
func (w *world) inactive(what string, by authz.Asker, token []byte) {
	w.t.Helper()
	if out := w.introspect(by, token); !reflect.DeepEqual(out, &ace.IntrospectionResponse{}) {
		w.t.Errorf("%s: the answer says something", what)
	}
}

// reference makes device n one whose tokens are introspected, with everything mother may do.
func (w *world) reference(n byte, change func(*authz.Device)) {
	w.t.Helper()
	w.device(n, func(d *authz.Device) {
		d.Delivery = authz.DeliveryIntrospect
		if change != nil {
			change(d)
		}
	})
	w.give(func(g *authz.Grant) { toGateway(g); g.Device = deviceID(n) }, view)
}

// TestReferenceToken: it says nothing, is found by its id and tells the device everything, the key too.
func TestReferenceToken(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		for n, change := range map[byte]func(*authz.Device){
			2: nil,
			3: func(d *authz.Device) { d.Profile = pop.ProfileCoAPDTLS },
			4: func(d *authz.Device) { d.Shape = provision.ShapeJWT },
			5: func(d *authz.Device) { d.Clock, d.ExpiresIn = provision.ClockNone, 2*time.Hour },
		} {
			w.reference(n, change)
			in := own(n)
			in.CNonce = []byte{}
			out := w.granted(w.gateway, in)
			record := w.tokens(n)[0]
			if len(out.AccessToken) != 48 || !bytes.HasPrefix(out.AccessToken, record.ID) || out.Cnf == nil {
				t.Fatalf("token of %d bytes", len(out.AccessToken))
			}
			if h := cwt.Hash(out.AccessToken); !bytes.Equal(h[:], record.Hash) || record.AltHash != nil {
				t.Error("the record has another hash")
			}
			got := w.introspect(askingDevice(n), out.AccessToken)
			c := &got.Claims
			if !got.Active || got.TokenType != "PoP" || c.Audience != audience(n) || !c.Scope.Equal(aif.New(view)) || !bytes.Equal(c.ID, record.ID) ||
				c.ClientID != "gateway" || c.Subject != "gateway" || c.Issuer != issuer || c.Grant == nil || c.CNonce == nil || c.Expires.Before(w.clock.now()) {
				t.Errorf("device %d: claims %+v", n, c)
			}
			if (n == 5) != (c.ExpiresIn == 2*time.Hour) {
				t.Errorf("device %d: exi %v", n, c.ExpiresIn)
			}
			if !samePossession(c.Confirmation, *out.Cnf) {
				t.Errorf("device %d: another key than the client's", n)
			}
			// The client sees the same, but the key's id alone: it has the key.
			own := w.introspect(askingClient(w.gateway), out.AccessToken)
			if k := own.Claims.Confirmation; !own.Active || !bytes.Equal(k.KeyID, keyIDOf(out)) || k.OSCORE != nil || k.Key != nil {
				t.Errorf("device %d: the client sees %+v", n, own.Claims.Confirmation)
			}
			if own.Words != "view" {
				t.Errorf("device %d: scope %q", n, own.Words)
			}
		}
	})
}

// samePossession compares id and secret, in either profile.
func samePossession(a, b pop.Confirmation) bool {
	if a.OSCORE != nil && b.OSCORE != nil {
		return bytes.Equal(a.OSCORE.ID, b.OSCORE.ID) && bytes.Equal(a.OSCORE.MasterSecret, b.OSCORE.MasterSecret)
	}
	return a.Key != nil && b.Key != nil && bytes.Equal(a.Key.ID(), b.Key.ID()) && bytes.Equal(a.Key.Secret(), b.Key.Secret())
}

// TestReferenceTokensAtRest: the key is sealed, and gone when the token has ended or is revoked (D3).
func TestReferenceTokensAtRest(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.reference(2, func(d *authz.Device) { d.Clock, d.ExpiresIn = provision.ClockNone, 50*time.Hour })
		ended, revoked := w.granted(w.gateway, own(2)), w.granted(w.gateway, own(2))
		if w.tokens(2)[0].Claims == nil {
			t.Fatal("nothing to tell")
		}
		w.must(w.server.RevokeToken(t.Context(), w.gateway, revoked.AccessToken))
		if r, err := w.store.Token(t.Context(), revoked.AccessToken[:16]); err != nil || r.Claims != nil || r.Revoked.IsZero() {
			t.Errorf("revoked: %v, claims of %d bytes", err, len(r.Claims))
		}
		w.clock.move(authz.HoldLife + 50*time.Hour) // it has ended, but the device may count exi still
		_, err := w.store.Sweep(t.Context(), w.clock.now(), 100)
		w.must(err)
		if r, err := w.store.Token(t.Context(), ended.AccessToken[:16]); err != nil || r.Claims != nil {
			t.Errorf("ended: %v, claims of %d bytes", err, len(r.Claims))
		}
	})
}

// TestIntrospectEveryShape: a token that says something itself, asked about by its device, by its client and by strangers.
func TestIntrospectEveryShape(t *testing.T) {
	w := newWorld(t)
	stranger := w.gateway
	stranger.ID = "stranger"
	w.client(stranger)
	for i, s := range allShapes {
		n := byte(2 + i)
		t.Run(s.name, func(t *testing.T) {
			w.t = t
			w.device(n, func(d *authz.Device) { d.Shape, d.Private = s.shape, s.private })
			w.give(func(g *authz.Grant) { toGateway(g); g.Device = deviceID(n); g.Once = true }, view, unlock)
			api := w.gateway
			api.ID, api.Serves = "api "+s.name, deviceID(n)
			w.client(api)
			out := w.granted(w.gateway, own(n))
			kid := keyIDOf(out)
			for name, by := range map[string]authz.Asker{
				"device": askingDevice(n), "API": askingClient(api), "client": askingClient(w.gateway),
				"API in CBOR": {Client: api, Encoding: authz.EncodingCBOR}, "device in JSON": {Device: deviceID(n)},
			} {
				got := w.introspect(by, out.AccessToken)
				c := got.Claims
				if !got.Active || c.Audience != audience(n) || !c.Scope.Equal(aif.New(view, unlock)) || c.ClientID != "gateway" || c.Grant == nil || got.TokenType != "PoP" {
					t.Errorf("%s: active %v, claims %+v", name, got.Active, c)
				}
				if methods(c.Confirmation) != 1 || c.Confirmation.KeyID != nil && !bytes.Equal(c.Confirmation.KeyID, kid) {
					t.Errorf("%s: cnf %+v", name, c.Confirmation)
				}
				secret := c.Confirmation.OSCORE != nil
				if secret != (name != "client" && s.shape == provision.ShapeEncrypt0) {
					t.Errorf("%s sees the key: %v", name, secret)
				}
				if _, err := got.CBOR(); by.Encoding == authz.EncodingCBOR && err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if _, err := got.JSON(); by.Encoding == authz.EncodingJSON && err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			w.inactive("another device", askingDevice(1), out.AccessToken)
			w.inactive("another client", askingClient(stranger), out.AccessToken)
			bad := bytes.Clone(out.AccessToken)
			bad[len(bad)/2] ^= 1
			w.inactive("a bit turned", askingDevice(n), bad)
			w.inactive("a byte more", askingDevice(n), append(bytes.Clone(out.AccessToken), 0))
			w.inactive("cut off", askingDevice(n), out.AccessToken[:len(out.AccessToken)-1])
		})
	}
}

func methods(c pop.Confirmation) (n int) {
	for _, set := range []bool{c.Key != nil, c.Encrypted != nil, c.KeyID != nil, c.OSCORE != nil, c.JWE != ""} {
		if set {
			n++
		}
	}
	return n
}

// TestInactive: what ends a token, or one of its parties, ends its being active at once, whatever the kind of token.
func TestInactive(t *testing.T) {
	ends := []struct {
		name string
		end  func(*world, authz.Grant, []byte) error
	}{
		{"the grant is revoked", func(w *world, g authz.Grant, _ []byte) error {
			_, err := w.server.Revoke(w.t.Context(), g.ID)
			return err
		}},
		{"the grant is suspended", func(w *world, g authz.Grant, _ []byte) error {
			return w.store.SuspendGrant(w.t.Context(), g.ID, w.clock.now())
		}},
		{"the client is suspended", func(w *world, _ authz.Grant, _ []byte) error {
			return w.store.SuspendClient(w.t.Context(), "gateway", w.clock.now())
		}},
		{"the client is deleted", func(w *world, _ authz.Grant, _ []byte) error {
			return w.store.DeleteClient(w.t.Context(), "gateway")
		}},
		{"the owner is suspended", func(w *world, _ authz.Grant, _ []byte) error {
			return w.store.SuspendUser(w.t.Context(), "alice", w.clock.now())
		}},
		{"the client revokes it", func(w *world, _ authz.Grant, token []byte) error {
			return w.server.RevokeToken(w.t.Context(), w.gateway, token)
		}},
		{"it ends", func(w *world, _ authz.Grant, _ []byte) error { w.clock.move(authz.TokenLife); return nil }},
		{"it has another owner", func(w *world, g authz.Grant, _ []byte) error {
			return w.store.TransferDevice(w.t.Context(), g.Device, authz.DeviceActive, "mother", 1_763_838_001)
		}},
	}
	for _, delivery := range []authz.Delivery{authz.DeliveryPush, authz.DeliveryIntrospect} {
		for _, tt := range ends {
			t.Run(string(delivery)+", "+tt.name, func(t *testing.T) {
				w := newWorld(t)
				w.device(2, func(d *authz.Device) { d.Delivery = delivery })
				g := w.give(func(g *authz.Grant) { toGateway(g); g.Device = deviceID(2) }, view)
				token := w.granted(w.gateway, own(2)).AccessToken
				w.clock.move(authz.TokenLife - time.Second)
				if !w.introspect(askingDevice(2), token).Active {
					t.Fatal("not active before")
				}
				w.clock.move(time.Second - authz.TokenLife)
				w.must(tt.end(w, g, token))
				w.inactive("the device", askingDevice(2), token)
			})
		}
	}
}

// TestNobodysTokens: bytes at random, one that was guessed by its id, one with another secret.
func TestNobodysTokens(t *testing.T) {
	w := newWorld(t)
	w.reference(2, nil)
	token := w.granted(w.gateway, own(2)).AccessToken
	guess := bytes.Clone(token)
	guess[47] ^= 1
	for name, token := range map[string][]byte{
		"nothing": nil, "one byte": {0}, "a guess": guess, "the id": token[:16], "words": []byte("not a token"),
		"dots": []byte("a.b.c"), "an empty CWT": {0xd8, 0x3d, 0xd0, 0x83, 0x40, 0xa0, 0x40}, "zeros": make([]byte, 48), "long": make([]byte, 8192),
	} {
		w.inactive(name, askingDevice(2), token)
		w.inactive(name, askingClient(w.gateway), token)
	}
}

// TestWhoMayNotAsk: a public client has shown its name only; who is suspended or gone asks for nothing.
func TestWhoMayNotAsk(t *testing.T) {
	w := newWorld(t)
	w.give(toGateway, view)
	token := w.granted(w.gateway, own(1)).AccessToken
	suspended := w.gateway
	suspended.SuspendedAt = evening
	lost := w.gateway
	lost.Serves = deviceID(9)
	w.device(2, nil)
	w.must(w.store.SuspendDevice(t.Context(), deviceID(2), evening))
	for name, by := range map[string]authz.Asker{
		"a public client": askingClient(w.phone), "a suspended client": askingClient(suspended), "a suspended device": askingDevice(2),
		"a device that is not there": askingDevice(9), "an API that is not there": askingClient(lost),
	} {
		if _, err := w.server.Introspect(t.Context(), by, token); !errors.Is(err, authz.ErrNotEntitled) {
			t.Errorf("%s: %v", name, err)
		}
		if last := w.audit(); last[len(last)-1].Event != "introspect" || last[len(last)-1].Result != "refused" {
			t.Errorf("%s is not on record", name)
		}
	}
}

// TestSignedIntrospection is RFC 9701 §5: typ, iss, aud and iat, the answer in a claim of its own.
func TestSignedIntrospection(t *testing.T) {
	w := newWorld(t)
	by := askingClient(w.gateway)
	token, err := w.server.SignIntrospection(t.Context(), by, []byte(`{"active":false}`))
	w.must(err)
	key, err := jose.NewKey(w.server.PublicKeys()["1"], "1")
	w.must(err)
	got, err := jose.Verify(token, jose.Expect{
		Type: jose.TypeIntrospection, Keys: jose.Only(key), Issuer: issuer, Audience: "gateway", Now: w.clock.now(),
		Require: []jose.Claim{jose.ClaimIssuedAt},
	})
	if err != nil || !json.Valid(got.Other["token_introspection"]) || string(got.Other["token_introspection"]) != `{"active":false}` ||
		got.Subject != "" || !got.Expires.IsZero() {
		t.Errorf("got %+v, %v", got, err)
	}
	// It is no access token, and says nothing of itself.
	w.inactive("an answer", by, []byte(token))
}
