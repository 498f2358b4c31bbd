package authz_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/cwt"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// newDTLS has a door 2 that speaks coap_dtls, on which the gateway may look.
func newDTLS(t testing.TB) *world {
	t.Helper()
	w := newWorld(t)
	w.device(2, func(d *authz.Device) { d.Profile = pop.ProfileCoAPDTLS })
	w.give(func(g *authz.Grant) { toGateway(g); g.Device = deviceID(2) }, view)
	w.courier.answer = func(context.Context) ([]byte, error) { return nil, nil }
	return w
}

// TestTokenOfADTLSDevice: token and answer carry the same COSE_Key, and say for which profile (RFC 9202 §3.3.1).
func TestTokenOfADTLSDevice(t *testing.T) {
	tests := []struct {
		name string
		made []byte // by the client
	}{
		{"the server makes the key", nil},
		{"the client makes 16 bytes", key(7, 16)},
		{"the client makes 32 bytes", key(8, 32)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newDTLS(t)
			in := own(2)
			if tt.made != nil {
				in.ReqCnf = &pop.Confirmation{Key: cose.NewSymmetric(tt.made, nil)}
			}
			out := w.granted(w.gateway, in)
			claims, err := cwt.Open(out.AccessToken, cwt.Keys{Decrypt: cose.Only(w.reader(2).token)})
			w.must(err)
			k := claims.Confirmation.Key
			switch {
			case k == nil || out.Cnf.Key == nil || !k.Equal(out.Cnf.Key):
				t.Fatalf("token and answer have different keys: %v, %v", k, out.Cnf.Key)
			case len(k.ID()) != 16 || bytes.Contains(k.ID(), claims.ID[8:]):
				t.Errorf("kid %x of token %x", k.ID(), claims.ID)
			case tt.made != nil && !bytes.Equal(k.Secret(), tt.made) || len(k.Secret()) < 16:
				t.Errorf("the key has %d bytes and is not the client's", len(k.Secret()))
			case claims.Profile != pop.ProfileCoAPDTLS || out.Profile != pop.ProfileCoAPDTLS:
				t.Errorf("profile %v in the token, %v in the answer", claims.Profile, out.Profile)
			case !claims.Scope.Equal(aif.New(view)):
				t.Errorf("scope %v", claims.Scope)
			}
			checkAnswer(t, out)
		})
	}
}

// TestKidsOfADTLSDeviceAreUnique: no two of them meet, and none follows from the one before.
func TestKidsOfADTLSDeviceAreUnique(t *testing.T) {
	w := newDTLS(t)
	seen := map[string]bool{}
	for range 40 {
		kid := string(w.granted(w.gateway, own(2)).Cnf.Key.ID())
		if seen[kid] || seen[kid[:4]] || seen[kid[12:]] {
			t.Fatalf("kid %x comes again, or part of it", kid)
		}
		seen[kid], seen[kid[:4]], seen[kid[12:]] = true, true, true
	}
}

// TestUploadToADTLSDevice: the bare token, whatever to_rs says, and an empty answer (RFC 9202 §3.3.1).
func TestUploadToADTLSDevice(t *testing.T) {
	done, failed := ptr(ace.UploadDone), ptr(ace.UploadFailed)
	say := func(payload []byte, err error) func(context.Context) ([]byte, error) {
		return func(context.Context) ([]byte, error) { return payload, err }
	}
	tests := []struct {
		name   string
		toRS   []byte
		asked  *uint
		answer func(context.Context) ([]byte, error)
		want   presence
	}{
		{"not asked", nil, nil, nil, presence{token: true}},
		{"hash wanted", nil, ptr(ace.UploadWantHash), say(nil, nil), presence{hash: true, from: true, upload: done}},
		{"hash wanted, to_rs of OSCORE", toRS, ptr(ace.UploadWantHash), say([]byte{}, nil), presence{hash: true, from: true, upload: done}},
		{"token wanted", nil, ptr(ace.UploadWantToken), say(nil, nil), presence{token: true, from: true, upload: done}},
		{"nothing wanted", nil, ptr(ace.UploadWantNothing), say(nil, nil), presence{from: true, upload: done}},
		{"refused", nil, ptr(ace.UploadWantHash), say(nil, errors.New("4.00")), presence{token: true, upload: failed}},
		{"answered as for OSCORE", nil, ptr(ace.UploadWantHash), say(agreed, nil), presence{token: true, upload: failed}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newDTLS(t)
			w.courier.answer = tt.answer
			in := own(2)
			in.TokenUpload, in.ToRS = tt.asked, tt.toRS
			out := w.granted(w.gateway, in)
			if got, want := presenceOf(out), tt.want.String(); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if len(out.FromRS) != 0 {
				t.Errorf("from_rs has %d bytes, want none", len(out.FromRS))
			}
			for _, u := range w.courier.got() {
				if c, err := cwt.Open(u.payload, cwt.Keys{Decrypt: cose.Only(w.reader(2).token)}); err != nil || c.Profile != pop.ProfileCoAPDTLS {
					t.Errorf("uploaded %x, which is no bare token: %v", u.payload, err)
				}
			}
			checkAnswer(t, out)
		})
	}
}

// TestDTLSRefusals: what cannot be done for such a device is refused in the protocol's own words.
func TestDTLSRefusals(t *testing.T) {
	w := newDTLS(t)
	in := own(2)
	in.ReqCnf = &pop.Confirmation{KeyID: cose.KeyID("of somebody")}
	_, err := w.token(w.gateway, in)
	w.refused(err, ace.UnsupportedPoPKey, "req_cnf: not a key id of this server")

	in = own(2)
	in.Profile = &ace.ProfileRequest{Named: true, Profile: pop.ProfileCoAPOSCORE}
	_, err = w.token(w.gateway, in)
	w.refused(err, ace.IncompatibleProfiles, "this device speaks coap_dtls")
	in.Profile.Profile = pop.ProfileCoAPDTLS
	w.granted(w.gateway, in)
}

// TestSignedShapesCarryNoDTLSKey is D7: such a record is a fault of this server, and leaves no token.
func TestSignedShapesCarryNoDTLSKey(t *testing.T) {
	for i, shape := range []provision.Shape{provision.ShapeSign1, provision.ShapeSign1ECDH, provision.ShapeJWT} {
		w := newWorld(t)
		n := byte(2 + i)
		w.device(n, func(d *authz.Device) { d.Profile, d.Shape = pop.ProfileCoAPDTLS, shape })
		w.give(func(g *authz.Grant) { toGateway(g); g.Device = deviceID(n) }, view)
		if _, err := w.token(w.gateway, own(n)); err == nil || errors.As(err, new(*ace.Error)) {
			t.Errorf("%v: got %v, want a fault of the server", shape, err)
		}
		if len(w.tokens(n)) != 0 {
			t.Errorf("%v: it left a token", shape)
		}
	}
}
