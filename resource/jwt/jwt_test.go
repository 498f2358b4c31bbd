package jwt_test

import (
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/cwt"
	"github.com/latchkey-ace/latchkey/pop/jose"
	cnfjwe "github.com/latchkey-ace/latchkey/pop/jose/jwe"
	"github.com/latchkey-ace/latchkey/pop/news"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/resource"
	"github.com/latchkey-ace/latchkey/resource/jwt"
	"github.com/latchkey-ace/latchkey/storage/device"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// monitor is a medical device without network that takes JWTs.
type monitor struct {
	t      *testing.T
	device *provision.Device
	signer *ecdsa.PrivateKey
	server *resource.Server
}

type still struct{}

func (still) Uptime() (time.Duration, string) { return time.Minute, "boot" }

func newMonitor(t *testing.T) *monitor {
	t.Helper()
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := cose.PublicKey(&signer.PublicKey, cose.KeyID("as1"))
	if err != nil {
		t.Fatal(err)
	}
	private, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	d := &provision.Device{
		Version: provision.Version, Issuer: "https://as.example", ASKeys: []*cose.Key{verifier}, PrivateKey: private,
		Kind: provision.KindMedical, Clock: provision.ClockNone, Token: provision.ShapeJWT,
		SenderID: []byte{1, 2, 3, 4}, RecipientID: []byte{0},
		Actions: []provision.Action{{Name: "view", Path: "/glucose", Methods: aif.GET}},
	}
	_, _ = rand.Read(d.ID[:])
	_, _ = rand.Read(d.RootKey[:])
	store, err := device.Open(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	opener, err := jwt.New(d)
	if err != nil {
		t.Fatal(err)
	}
	server, err := resource.New(resource.Config{Device: d, Store: store, Clock: still{}, Opener: opener}, resource.Options{})
	if err != nil {
		t.Fatal(err)
	}
	m := &monitor{t: t, device: d, signer: signer, server: server}
	if err := server.Handle("view", func(context.Context, resource.Call) (resource.Answer, error) {
		return resource.Answer{Payload: []byte("5.4")}, nil
	}); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *monitor) token(change func(*pop.Claims)) string {
	m.t.Helper()
	jwe, err := cnfjwe.EncryptKey([]byte("0123456789abcdef"), []byte{9}, m.device.PrivateKey.PublicKey())
	if err != nil {
		m.t.Fatal(err)
	}
	now := time.Date(2026, 7, 1, 18, 0, 0, 0, time.UTC)
	c := &pop.Claims{
		Issuer: m.device.Issuer, Subject: "alice", Audience: m.device.Audience(), ClientID: "app", IssuedAt: now,
		Expires: now.Add(24 * time.Hour), ExpiresIn: time.Hour, ID: binary.BigEndian.AppendUint64(m.device.ID[:], 1),
		Scope: aif.New(aif.Entry{Path: "/glucose", Methods: aif.GET}), Profile: pop.ProfileCoAPOSCORE,
		Confirmation: pop.Confirmation{JWE: jwe}, Grant: &pop.GrantRef{Epoch: 1},
	}
	change(c)
	token, err := jose.Sign(c, jose.Signer{Key: m.signer, ID: "as1"})
	if err != nil {
		m.t.Fatal(err)
	}
	return token
}

func (m *monitor) accept(token string) (ace.AuthzInfoAnswer, error) {
	in := ace.AuthzInfo{Token: []byte(token), Nonce1: []byte("nonce1.."), ClientRecipientID: []byte{7}}
	return m.server.Accept(context.Background(), in, resource.Origin{})
}

func TestJWTOpensTheDevice(t *testing.T) {
	m := newMonitor(t)
	answer, err := m.accept(m.token(func(*pop.Claims) {}))
	if err != nil {
		t.Fatal(err)
	}
	s, ok := m.server.Session(answer.ServerRecipientID)
	if !ok {
		t.Fatal("no session")
	}
	d := m.server.Decide(context.Background(), resource.Request{Session: s, Code: codes.GET, Path: "/glucose"})
	if !d.Allowed() {
		t.Errorf("got %v %v", d.Code, d.Reason)
	}
}

func TestJWTIsRefused(t *testing.T) {
	m, other := newMonitor(t), newMonitor(t)
	forOther, err := cnfjwe.EncryptKey([]byte("0123456789abcdef"), []byte{9}, other.device.PrivateKey.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	broken := []byte(m.token(func(*pop.Claims) {}))
	if at := len(broken) - 8; broken[at] != 'A' { // still base64url, whatever stood there
		broken[at] = 'A'
	} else {
		broken[at] = 'B'
	}
	tests := []struct {
		name   string
		token  string
		code   codes.Code
		reason error
	}{
		{"broken signature", string(broken), codes.Unauthorized, resource.ErrBadProtection},
		{"not a JWT", "door", codes.BadRequest, resource.ErrMalformed},
		{"signed by another server", other.token(func(c *pop.Claims) {}), codes.Unauthorized, resource.ErrBadProtection},
		{"key encrypted to another device", m.token(func(c *pop.Claims) { c.Confirmation.JWE = forOther }),
			codes.BadRequest, resource.ErrBadConfirmation},
		{"another audience", m.token(func(c *pop.Claims) { c.Audience = other.device.Audience() }),
			codes.Forbidden, resource.ErrWrongAudience},
		{"another profile", m.token(func(c *pop.Claims) { c.Profile = pop.ProfileCoAPDTLS }),
			codes.BadRequest, resource.ErrBadConfirmation},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := m.accept(tt.token)
			var r *resource.RefusedError
			if !errors.As(err, &r) || r.Code != tt.code || !errors.Is(err, tt.reason) {
				t.Errorf("got %v, want %v %v", err, tt.code, tt.reason)
			}
		})
	}
}

// TestEitherHashRevokes: the server lists the hash of the answer's encoding, which the device does not know.
func TestEitherHashRevokes(t *testing.T) {
	for name, pick := range map[string]func(string) [cwt.HashSize]byte{
		"json": func(token string) [cwt.HashSize]byte { h, _ := cwt.HashJWT(token); return h },
		"cbor": func(token string) [cwt.HashSize]byte { _, h := cwt.HashJWT(token); return h },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMonitor(t)
			token := m.token(func(*pop.Claims) {})
			answer, err := m.accept(token)
			if err != nil {
				t.Fatal(err)
			}
			key, err := m.device.SymmetricKey(provision.PurposeNewsDown, provision.FirstKeyID)
			if err != nil {
				t.Fatal(err)
			}
			hash := pick(token)
			sealed, err := news.Seal(news.News{Sequence: 1, IssuedAt: time.Unix(1, 0), Items: []news.Item{news.HashesItem(hash[:])}}, key, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := m.server.Apply(context.Background(), sealed, resource.Origin{}); err != nil {
				t.Fatal(err)
			}
			if _, ok := m.server.Session(answer.ServerRecipientID); ok {
				t.Error("the session is still there")
			}
			if _, err := m.accept(token); !errors.Is(err, resource.ErrRevoked) {
				t.Errorf("got %v, want ErrRevoked", err)
			}
		})
	}
}

func TestOnlyDevicesThatTakeJWTs(t *testing.T) {
	if _, err := jwt.New(&provision.Device{Token: provision.ShapeSign1}); err == nil {
		t.Error("a device of another shape was taken")
	}
	if _, err := jwt.New(&provision.Device{Token: provision.ShapeJWT}); err == nil {
		t.Error("a device without keys was taken")
	}
}
