package coapapi_test

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"fmt"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/cwt"
	"github.com/latchkey-ace/latchkey/pop/jose"
	cnfjwe "github.com/latchkey-ace/latchkey/pop/jose/jwe"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

var (
	unlock = aif.New(aif.Entry{Path: "/door/unlock", Methods: aif.POST})
	view   = aif.New(aif.Entry{Path: "/door", Methods: aif.GET})
)

func uintp(n uint) *uint { return &n }

// open reads a token and its possession key as its device would.
func (w *world) open(d authz.Device, private *ecdh.PrivateKey, token []byte) (*pop.Claims, *pop.InputMaterial) {
	w.t.Helper()
	claims, err := openToken(w.server, d, token)
	if err != nil {
		w.t.Fatalf("%v token: %v", d.Shape, err)
	}
	cnf, err := w.key(d, provision.PurposeCnf), error(nil)
	material := claims.Confirmation.OSCORE
	switch d.Shape {
	case provision.ShapeSign1, provision.ShapeSign1ECDH:
		var key *cose.Key
		key, err = cwt.DecryptKey(claims.Confirmation.Encrypted, cwt.KeyOpener{
			Shared: cose.Only(cnf), Private: func(cose.Algorithm, cose.KeyID) (*ecdh.PrivateKey, error) { return private, nil },
		})
		if err == nil {
			material = &pop.InputMaterial{ID: key.ID(), MasterSecret: key.Secret()}
		}
	case provision.ShapeJWT:
		material = &pop.InputMaterial{}
		material.MasterSecret, material.ID, err = cnfjwe.DecryptKey(claims.Confirmation.JWE, private)
	}
	if err != nil || material == nil {
		w.t.Fatalf("%v token: possession key: %v", d.Shape, err)
	}
	return claims, material
}

func openToken(server *authz.Server, d authz.Device, token []byte) (*pop.Claims, error) {
	find := func(kid string) (*ecdsa.PublicKey, error) {
		if key, ok := server.PublicKeys()[kid]; ok {
			return key, nil
		}
		return nil, fmt.Errorf("no key %q", kid)
	}
	if d.Shape == provision.ShapeJWT {
		return jose.Open(string(token), find)
	}
	key, err := provision.SymmetricKey(d.RootKey, provision.PurposeToken, d.ID, provision.FirstKeyID)
	if err != nil {
		return nil, err
	}
	return cwt.Open(token, cwt.Keys{
		Decrypt: cose.Only(key), RequireSignature: d.Shape.Signed(),
		Verify: func(_ cose.Algorithm, kid cose.KeyID) (*ecdsa.PublicKey, error) { return find(string(kid)) },
	})
}

func (w *world) key(d authz.Device, purpose provision.Purpose) cose.SymmetricKey {
	w.t.Helper()
	key, err := provision.SymmetricKey(d.RootKey, purpose, d.ID, provision.FirstKeyID)
	if err != nil {
		w.t.Fatal(err)
	}
	return key
}

func TestTokenOfEveryShape(t *testing.T) {
	w := newWorld(t)
	gateway := w.caller(w.client)
	shapes := []provision.Shape{provision.ShapeEncrypt0, provision.ShapeSign1, provision.ShapeSign1ECDH, provision.ShapeJWT}
	for i, shape := range shapes {
		t.Run(shape.String(), func(t *testing.T) {
			record, private := shaped(t, shape)
			d, g := w.addDevice(record)
			out := gateway.granted(ace.TokenRequest{Audience: d.Audience()})
			claims, material := w.open(d, private, out.AccessToken)
			if claims.Audience != d.Audience() || !claims.Scope.Equal(unlock.Union(view)) || claims.Grant == nil || claims.Grant.Grant != g.ID {
				t.Errorf("got claims %+v", claims)
			}
			osc := out.Cnf.OSCORE
			if osc == nil || !bytes.Equal(osc.MasterSecret, material.MasterSecret) || !bytes.Equal(osc.ID, material.ID) {
				t.Error("the client got another key than the token holds")
			}
			if out.ExpiresIn <= 0 || out.ExpiresIn > authz.TokenLife || out.TokenType != ace.TokenTypePoP || out.Profile != 0 {
				t.Errorf("got %v, type %v, profile %v", out.ExpiresIn, out.TokenType, out.Profile)
			}
			if n := w.tokens(); n != i+1 {
				t.Errorf("%d tokens on record, want %d", n, i+1)
			}
		})
	}
	rows, err := w.store.AuditTail(t.Context(), 1)
	if err != nil || len(rows) != 1 || rows[0].Client != w.client.ID || rows[0].Result != "granted" {
		t.Errorf("on record: %+v, %v", rows, err)
	}
}

func TestTokenParameters(t *testing.T) {
	w := newWorld(t)
	gateway := w.caller(w.client)
	key := bytes.Repeat([]byte{1, 2}, 8)
	tests := []struct {
		name  string
		in    ace.TokenRequest
		check func(t *testing.T, out *ace.TokenResponse, claims *pop.Claims)
	}{
		{"without grant type: client_credentials", ace.TokenRequest{GrantTypeImplied: true}, func(*testing.T, *ace.TokenResponse, *pop.Claims) {}},
		{"the audience is the name for people", ace.TokenRequest{Audience: "front-door"}, func(*testing.T, *ace.TokenResponse, *pop.Claims) {}},
		{"profile null: told", ace.TokenRequest{Profile: ace.TellProfile()}, func(t *testing.T, out *ace.TokenResponse, _ *pop.Claims) {
			if out.Profile != pop.ProfileCoAPOSCORE {
				t.Errorf("got profile %v", out.Profile)
			}
		}},
		{"scope in binary, granted as asked: not repeated", ace.TokenRequest{Scope: ace.Scope{Rights: unlock}}, func(t *testing.T, out *ace.TokenResponse, claims *pop.Claims) {
			if !out.Scope.Absent() || !claims.Scope.Equal(unlock) {
				t.Errorf("got scope %v, token scope %v", out.Scope, claims.Scope)
			}
		}},
		{"scope in words", ace.TokenRequest{Scope: ace.Scope{Words: "view"}}, func(t *testing.T, out *ace.TokenResponse, claims *pop.Claims) {
			if out.Scope.Words != "view" || !claims.Scope.Equal(view) {
				t.Errorf("got scope %v, token scope %v", out.Scope, claims.Scope)
			}
		}},
		{"own key", ace.TokenRequest{ReqCnf: &pop.Confirmation{Key: cose.NewSymmetric(key, nil)}}, func(t *testing.T, out *ace.TokenResponse, claims *pop.Claims) {
			if !bytes.Equal(claims.Confirmation.OSCORE.MasterSecret, key) || !bytes.Equal(out.Cnf.OSCORE.MasterSecret, key) || len(out.Cnf.OSCORE.ID) == 0 {
				t.Error("the token is for another key")
			}
		}},
		{"cnonce", ace.TokenRequest{CNonce: []byte{7, 7}}, func(t *testing.T, _ *ace.TokenResponse, claims *pop.Claims) {
			if !bytes.Equal(claims.CNonce, []byte{7, 7}) {
				t.Errorf("got cnonce %x", claims.CNonce)
			}
		}},
		{"naming itself", ace.TokenRequest{ClientID: "gateway"}, func(*testing.T, *ace.TokenResponse, *pop.Claims) {}},
		{"upload wanted of a lock that is not there", ace.TokenRequest{TokenUpload: uintp(0), ToRS: toRS(t)}, func(t *testing.T, out *ace.TokenResponse, _ *pop.Claims) {
			if out.TokenUpload != nil {
				t.Errorf("got token_upload %d", *out.TokenUpload)
			}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.in.Audience == "" {
				test.in.Audience = w.record.Audience()
			}
			out := gateway.granted(test.in)
			claims, _ := w.open(w.record, nil, out.AccessToken)
			test.check(t, out, claims)
		})
	}
}

// toRS is what a client lets the server upload beside the token.
func toRS(t testing.TB) []byte {
	t.Helper()
	payload, err := ace.AuthzInfo{Nonce1: []byte("nonce001"), ClientRecipientID: []byte{7}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

// TestRequestOnTheWire: integer keys, the scope a byte string with AIF in it (RFC 9200 §5.8.1, RFC 9237 §4), byte by byte.
func TestRequestOnTheWire(t *testing.T) {
	w := newWorld(t)
	gateway := w.caller(w.client)
	payload := []byte{0xa2, 0x05, 0x6a}
	payload = append(payload, "front-door"...)
	// scope: h'[["/door/unlock", POST]]'
	scope := append([]byte{0x81, 0x82, 0x6c}, "/door/unlock"...)
	scope = append(scope, 0x02)
	payload = append(append(payload, 0x09, 0x40|byte(len(scope))), scope...)
	answer := gateway.ask(tokenRequest(payload))
	if answer.Code != codes.Created {
		t.Fatalf("got %s", coapsec.Describe(answer))
	}
	out, err := ace.ParseTokenResponseCBOR(answer.Payload)
	if err != nil {
		t.Fatal(err)
	}
	if claims, _ := w.open(w.record, nil, out.AccessToken); !claims.Scope.Equal(unlock) {
		t.Errorf("got scope %v", claims.Scope)
	}
}

func TestTokenIsUploadedWhileTheClientWaits(t *testing.T) {
	w := newWorld(t)
	w.mustRegister(time.Minute)
	gateway := w.caller(w.client)
	for want, has := range map[uint]struct{ token, hash bool }{0: {false, false}, 1: {false, true}, 2: {true, false}} {
		out := gateway.granted(ace.TokenRequest{Audience: "front-door", TokenUpload: &want, ToRS: toRS(t)})
		if out.TokenUpload == nil || *out.TokenUpload != ace.UploadDone || (out.AccessToken != nil) != has.token || (out.TokenHash != nil) != has.hash {
			t.Errorf("token_upload %d: got %v, token %v, hash %v", want, out.TokenUpload, out.AccessToken != nil, out.TokenHash != nil)
		}
		if answer, err := ace.ParseAuthzInfoAnswer(out.FromRS); err != nil || string(answer.Nonce2) != "nonce002" {
			t.Errorf("token_upload %d: from_rs %x, %v", want, out.FromRS, err)
		}
	}
}

// TestLongRequestComesInBlocks: a client with small buffers.
func TestLongRequestComesInBlocks(t *testing.T) {
	w := newWorld(t)
	gateway := w.caller(w.client)
	over := exchanger(func(ctx context.Context, m message.Message) (message.Message, error) {
		return gateway.channel.Exchange(ctx, gateway.endpoint.To(w.endpoint.LocalAddr()), m)
	})
	payload := encoded(t, ace.TokenRequest{Audience: w.record.Audience(), Scope: ace.Scope{Words: "unlock view"}, CNonce: make([]byte, 64)})
	answer, err := coapsec.UploadBlocks(over, 16).Exchange(t.Context(), tokenRequest(payload))
	if err != nil || answer.Code != codes.Created || w.tokens() != 1 {
		t.Errorf("got %v, %v, %d tokens", answer.Code, err, w.tokens())
	}
}

type exchanger func(ctx context.Context, m message.Message) (message.Message, error)

func (f exchanger) Exchange(ctx context.Context, m message.Message) (message.Message, error) {
	return f(ctx, m)
}
