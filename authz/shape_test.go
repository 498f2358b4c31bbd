package authz_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"encoding/binary"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/cwt"
	"github.com/latchkey-ace/latchkey/pop/jose"
	cnfjwe "github.com/latchkey-ace/latchkey/pop/jose/jwe"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// reader is what device n holds: its derived keys, its private key and the server's public ones.
type reader struct {
	token, cnf cose.SymmetricKey
	server     map[string]*ecdsa.PublicKey
}

func (w *world) reader(n byte) reader {
	w.t.Helper()
	d := &provision.Device{ID: deviceID(n), RootKey: [32]byte(rootKey(n))}
	token, err := d.SymmetricKey(provision.PurposeToken, provision.FirstKeyID)
	w.must(err)
	cnf, err := d.SymmetricKey(provision.PurposeCnf, provision.FirstKeyID)
	w.must(err)
	return reader{token: token, cnf: cnf, server: w.server.PublicKeys()}
}

var errUnknownKey = errors.New("unknown key")

func (r reader) verify(kid string) (*ecdsa.PublicKey, error) {
	if key, ok := r.server[kid]; ok {
		return key, nil
	}
	return nil, errUnknownKey
}

// open reads a token as the device does: its claims and its possession key.
func (r reader) open(shape provision.Shape, token []byte) (*pop.Claims, []byte, []byte, error) {
	if shape == provision.ShapeJWT {
		c, err := jose.Open(string(token), r.verify)
		if err != nil {
			return nil, nil, nil, err
		}
		k, kid, err := cnfjwe.DecryptKey(c.Confirmation.JWE, privateKey)
		return c, k, kid, err
	}
	c, err := cwt.Open(token, cwt.Keys{
		Decrypt: cose.Only(r.token), RequireSignature: shape.Signed(),
		Verify: func(_ cose.Algorithm, kid cose.KeyID) (*ecdsa.PublicKey, error) { return r.verify(string(kid)) },
	})
	if err != nil {
		return nil, nil, nil, err
	}
	if m := c.Confirmation.OSCORE; m != nil {
		return c, m.MasterSecret, m.ID, nil
	}
	opener := cwt.KeyOpener{Shared: cose.Only(r.cnf)}
	if shape.NeedsPrivateKey() {
		opener = cwt.KeyOpener{Private: func(cose.Algorithm, cose.KeyID) (*ecdh.PrivateKey, error) { return privateKey, nil }}
	}
	k, err := cwt.DecryptKey(c.Confirmation.Encrypted, opener)
	if err != nil {
		return nil, nil, nil, err
	}
	return c, k.Secret(), k.ID(), nil
}

// shaped is a way a device may want its tokens.
type shaped struct {
	name    string
	shape   provision.Shape
	private bool
}

var allShapes = []shaped{
	{"encrypt0", provision.ShapeEncrypt0, false},
	{"sign1", provision.ShapeSign1, false},
	{"sign1, private", provision.ShapeSign1, true},
	{"sign1-ecdh", provision.ShapeSign1ECDH, false},
	{"sign1-ecdh, private", provision.ShapeSign1ECDH, true},
	{"jwt", provision.ShapeJWT, false},
}

// TestEveryShapeSaysWhatWasGranted opens each shape with the device's keys and compares all of its claims.
func TestEveryShapeSaysWhatWasGranted(t *testing.T) {
	w := newWorld(t)
	w.clock.move(300 * time.Millisecond)
	for i, s := range allShapes {
		n := byte(2 + i)
		t.Run(s.name, func(t *testing.T) {
			w.device(n, func(d *authz.Device) {
				d.Shape, d.Private, d.Clock, d.ExpiresIn = s.shape, s.private, provision.ClockRelative, 2*time.Hour
			})
			g := w.give(func(g *authz.Grant) { g.Device, g.Once, g.Until = deviceID(n), true, evening.Add(3*time.Hour) }, view, unlock)
			question := question()
			question.Audience = audience(n)
			in := redemption(w.ask("mother", question).Get("code"))
			in.CNonce, in.ReqCnf = []byte("the device's nonce"), &pop.Confirmation{Key: cose.NewSymmetric(key(n, 32), nil)}
			out := w.granted(w.phone, in)

			claims, secret, id, err := w.reader(n).open(s.shape, out.AccessToken)
			w.must(err)
			if m := out.Cnf.OSCORE; !bytes.Equal(secret, key(n, 32)) || !bytes.Equal(m.MasterSecret, secret) || !bytes.Equal(m.ID, id) {
				t.Error("client and device have different keys or ids")
			}
			record := w.tokens(n)[0]
			claims.Confirmation = pop.Confirmation{}
			want := &pop.Claims{
				Audience: audience(n), IssuedAt: evening, Expires: evening.Add(3 * time.Hour), ExpiresIn: 2 * time.Hour,
				ID: record.ID, Scope: aif.New(view, unlock), Profile: pop.ProfileCoAPOSCORE, CNonce: in.CNonce,
				Grant: &pop.GrantRef{Epoch: 1_763_838_000, Grant: g.ID, Once: []uint{1}},
			}
			if s.shape == provision.ShapeJWT {
				want.Issuer, want.Subject, want.ClientID = issuer, "mother", "phone"
			}
			if !sameClaims(claims, want) {
				t.Errorf("got  %+v\nwant %+v", claims, want)
			}
			checkRecord(t, record, s.shape, out.AccessToken)
		})
	}
}

// sameClaims compares times as moments.
func sameClaims(a, b *pop.Claims) bool {
	if !a.Expires.Equal(b.Expires) || !a.IssuedAt.Equal(b.IssuedAt) {
		return false
	}
	x, y := *a, *b
	x.Expires, x.IssuedAt, y.Expires, y.IssuedAt = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	return reflect.DeepEqual(x, y)
}

// checkRecord: cti is the device and its sequence, and the record can find the token by the device's hash.
func checkRecord(t *testing.T, r authz.TokenRecord, shape provision.Shape, token []byte) {
	t.Helper()
	if len(r.ID) != 16 || !bytes.HasPrefix(r.ID, r.Device[:]) || binary.BigEndian.Uint64(r.ID[8:])>>20 != uint64(evening.Unix()) {
		t.Errorf("cti %x", r.ID)
	}
	hash := cwt.Hash(token)
	asJSON, asCBOR := cwt.HashJWT(string(token))
	if shape == provision.ShapeJWT {
		if !bytes.Equal(r.Hash, asJSON[:]) || !bytes.Equal(r.AltHash, asCBOR[:]) {
			t.Errorf("hashes %x and %x of a JWT in JSON", r.Hash, r.AltHash)
		}
		return
	}
	if !bytes.Equal(r.Hash, hash[:]) || r.AltHash != nil {
		t.Errorf("hashes %x and %x, want %x alone", r.Hash, r.AltHash, hash)
	}
}

// TestTokensOpenForNobodyElse: another device's keys, another server's, a bit turned.
func TestTokensOpenForNobodyElse(t *testing.T) {
	w := newWorld(t)
	for i, s := range allShapes {
		n := byte(2 + i)
		t.Run(s.name, func(t *testing.T) {
			w.device(n, func(d *authz.Device) { d.Shape, d.Private = s.shape, s.private })
			w.give(func(g *authz.Grant) { toGateway(g); g.Device = deviceID(n) }, view)
			token := w.granted(w.gateway, own(n)).AccessToken
			own := w.reader(n)
			if _, _, _, err := own.open(s.shape, token); err != nil {
				t.Fatal(err)
			}
			// Who has the public key alone reads the claims of a signed token, but of no private one.
			_, err := cwt.Open(token, cwt.Keys{Verify: func(_ cose.Algorithm, kid cose.KeyID) (*ecdsa.PublicKey, error) { return own.verify(string(kid)) }})
			if public := s.shape.Signed() && s.shape != provision.ShapeJWT && !s.private; (err == nil) != public {
				t.Errorf("with the public key alone: %v", err)
			}
			stranger := w.reader(1)
			stranger.server = newWorld(t).server.PublicKeys()
			if _, _, _, err := stranger.open(s.shape, token); err == nil {
				t.Error("it opens with another device's and server's keys")
			}
			for _, i := range []int{len(token) / 3, len(token) / 2, len(token) - 2} {
				bad := bytes.Clone(token)
				bad[i] ^= 1
				if _, _, _, err := own.open(s.shape, bad); err == nil {
					t.Errorf("it opens with a bit of byte %d turned", i)
				}
			}
		})
	}
}

// TestSecretNeverInClear is T-9200-1: no shape shows the possession key to who holds the token alone.
func TestSecretNeverInClear(t *testing.T) {
	w := newWorld(t)
	for i, s := range allShapes {
		n := byte(2 + i)
		w.device(n, func(d *authz.Device) { d.Shape, d.Private = s.shape, s.private })
		w.give(func(g *authz.Grant) { toGateway(g); g.Device = deviceID(n) }, view)
		out := w.granted(w.gateway, bringing(n, key(n, 16)))
		for _, form := range [][]byte{key(n, 16), []byte(base64url(key(n, 16)))} {
			if bytes.Contains(out.AccessToken, form) {
				t.Errorf("%s: the token holds the key in clear", s.name)
			}
		}
	}
	// And the maker of tokens would refuse.
	claims := &pop.Claims{Audience: audience(1), Expires: evening, Confirmation: pop.Confirmation{OSCORE: &pop.InputMaterial{ID: []byte{1}, MasterSecret: key(1, 16)}}}
	if _, err := cwt.Seal(claims, cwt.Sign1{}, nil); !errors.Is(err, cwt.ErrSecretInClear) {
		t.Errorf("sealing it under a mere signature: got %v", err)
	}
}

// TestHashesFollowTheEncoding: what the answer will be written in decides which hash names a JWT (RFC 9770 §4, D8).
func TestHashesFollowTheEncoding(t *testing.T) {
	w := newWorld(t)
	w.device(2, func(d *authz.Device) { d.Shape = provision.ShapeJWT })
	w.give(func(g *authz.Grant) { toGateway(g); g.Device = deviceID(2) }, view)
	in := uploading(2, ptr(ace.UploadWantHash))
	out, err := w.server.Token(t.Context(), authz.Caller{Client: w.gateway, Encoding: authz.EncodingCBOR}, in)
	w.must(err)
	got, err := ace.ParseAuthzInfo(w.courier.got()[0].payload)
	w.must(err)
	asJSON, asCBOR := cwt.HashJWT(string(got.Token))
	record := w.tokens(2)[0]
	if !bytes.Equal(record.Hash, asCBOR[:]) || !bytes.Equal(record.AltHash, asJSON[:]) || !bytes.Equal(out.TokenHash, asCBOR[:]) {
		t.Errorf("hashes %x and %x, answered %x; want %x, %x", record.Hash, record.AltHash, out.TokenHash, asCBOR, asJSON)
	}
	if out.Profile != 0 {
		t.Error("the profile was not asked for, but stands in a CBOR answer")
	}
	in.Profile = ace.TellProfile()
	out, err = w.server.Token(t.Context(), authz.Caller{Client: w.gateway, Encoding: authz.EncodingCBOR}, in)
	if err != nil || out.Profile != pop.ProfileCoAPOSCORE {
		t.Errorf("asked for the profile, got %v, %v", out.Profile, err)
	}
}
