package coapapi_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/coapsec/dtls"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/cwt"
	"github.com/latchkey-ace/latchkey/pop/news"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/resource"
	"github.com/latchkey-ace/latchkey/resource/coapapi"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// shakeTime bounds a handshake that may fail in silence.
const shakeTime = 5 * time.Second

// secured is a lock that serves DTLS on loopback.
type secured struct {
	*door
	dtls *dtls.Server
}

func newSecured(t *testing.T) *secured {
	t.Helper()
	return newDoor(t).secured(t)
}

// secured starts a door as one that serves DTLS.
func (d *door) secured(t *testing.T) *secured {
	t.Helper()
	d.device.Profile = pop.ProfileCoAPDTLS
	d.start()
	d.learn()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &secured{d, dtls.NewServer(conn, d.api.Keys(), d.security, dtls.Options{Log: slog.New(slog.DiscardHandler)})}
	d.api.EndWith(s.dtls.End)
	done := make(chan error, 1)
	go func() { done <- s.dtls.Serve(context.Background()) }()
	t.Cleanup(func() {
		_ = s.dtls.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

// keyed are claims with a DTLS key.
func (d *door) keyed(kid string) *pop.Claims {
	key := make([]byte, 16)
	_, _ = rand.Read(key)
	c := d.claims()
	c.Profile, c.Confirmation = pop.ProfileCoAPDTLS, pop.Confirmation{Key: cose.NewSymmetric(key, cose.KeyID(kid))}
	return c
}

func (s *secured) dial(id ace.PSKIdentity, key []byte) (*dtls.Conn, error) {
	s.t.Helper()
	identity, err := id.Encode()
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), shakeTime)
	defer cancel()
	conn, err := dtls.Dial(ctx, s.dtls.LocalAddr(), identity, key, dtls.Options{})
	if err == nil {
		s.t.Cleanup(func() { _ = conn.Close() })
	}
	return conn, err
}

// enterKeyed shows a token in the handshake.
func (s *secured) enterKeyed(c *pop.Claims) *dtls.Conn {
	s.t.Helper()
	conn, err := s.dial(ace.PSKIdentity{Token: s.seal(c)}, c.Confirmation.Key.Secret())
	if err != nil {
		s.t.Fatal(err)
	}
	return conn
}

// hear lets the lock apply news over its server's channel.
func (d *door) hear(sequence uint64, items ...news.Item) {
	d.t.Helper()
	key, err := d.device.SymmetricKey(provision.PurposeNewsDown, provision.FirstKeyID)
	if err != nil {
		d.t.Fatal(err)
	}
	sealed, err := news.Seal(news.News{Sequence: sequence, IssuedAt: time.Now(), Items: items}, key, rand.Reader)
	if err != nil {
		d.t.Fatal(err)
	}
	if _, err := d.server.Apply(d.t.Context(), sealed, resource.Origin{Server: true}); err != nil {
		d.t.Fatal(err)
	}
}

func bare(token []byte) message.Message {
	return coapsec.NewRequest(codes.POST, ace.PathAuthzInfo, ace.FormatCWT, token)
}

// TestAssociationUnderATokenAndUnderItsKeyID is RFC 9202 §3.3.2 in both forms, and that rights are those of the token.
func TestAssociationUnderATokenAndUnderItsKeyID(t *testing.T) {
	s := newSecured(t)
	c := s.keyed("guest")
	c.Scope = aif.New(aif.Entry{Path: "/door/unlock", Methods: aif.POST})
	first := s.enterKeyed(c)
	wants(t, first, unlock, codes.Changed)
	second, err := s.dial(ace.PSKIdentity{KeyID: []byte("guest")}, c.Confirmation.Key.Secret())
	if err != nil {
		t.Fatal(err)
	}
	wants(t, second, unlock, codes.Changed)
	s.wantOpened(2)
	wants(t, second, coapsec.NewRequest(codes.GET, "/door", coapsec.NoFormat, nil), codes.Forbidden)
	wants(t, second, with(unlock, 65001, "x"), codes.BadOption)
	wants(t, second, coapsec.NewRequest(codes.POST, coapapi.PathNews, ace.FormatCBOR, []byte("x")), codes.Forbidden)
}

// TestHandshakesWithoutASession: what finds no key is told to who watches the door, with its reason, and to the client only as
// a refusal.
func TestHandshakesWithoutASession(t *testing.T) {
	s := newSecured(t)
	var mu sync.Mutex
	var told []error
	api := coapapi.New(s.server, coapapi.Options{Refused: func(_ string, why error) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, why)
	}})
	foreign := s.keyed("foreign")
	foreign.Audience = "d234"
	used := s.keyed("used")
	used.Scope, used.Grant.Once = aif.New(aif.Entry{Path: "/door/unlock", Methods: aif.POST}), []uint{0}
	usedToken := s.seal(used)
	conn, err := s.dial(ace.PSKIdentity{Token: usedToken}, used.Confirmation.Key.Secret())
	if err != nil {
		t.Fatal(err)
	}
	wants(t, conn, unlock, codes.Changed)
	oscoreToken := s.seal(s.claims())
	for i, tt := range []struct {
		name     string
		identity []byte
		want     error // nil: any
	}{
		{"nothing", nil, nil},
		{"text", []byte("Client_identity"), nil},
		{"half a key id", []byte{0xa1, 8, 0xa1}, nil},
		{"an unknown key id", []byte{0xa1, 8, 0xa1, 1, 0xa2, 1, 4, 2, 0x41, 'x'}, nil},
		{"a key id and a byte more", []byte{0xa1, 8, 0xa1, 1, 0xa2, 1, 4, 2, 0x41, 'x', 0}, nil},
		{"another device's token", s.seal(foreign), resource.ErrWrongAudience},
		{"a token that is used up", usedToken, resource.ErrUsed},
		{"a token for OSCORE", oscoreToken, resource.ErrBadConfirmation},
		{"half a token", oscoreToken[:len(oscoreToken)/2], nil},
	} {
		key, session, err := api.Keys().Find(tt.identity, netip.MustParseAddrPort("192.0.2.9:1"))
		if err == nil || key != nil || session != nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v and a key: %v, want %v", tt.name, err, key != nil, tt.want)
		}
		if len(told) != i+1 || told[i] != err {
			t.Errorf("%s: told %v, want %v", tt.name, told, err)
		}
	}
}

// TestHandshakesWithTokensAreUploads: their number has the bounds of uploads; key ids cost no signature and have none.
func TestHandshakesWithTokensAreUploads(t *testing.T) {
	d := newDoor(t)
	d.device.Profile = pop.ProfileCoAPDTLS
	d.start()
	d.learn()
	now := time.Now()
	api := coapapi.New(d.server, coapapi.Options{Now: func() time.Time { return now }})
	from := func(i int) netip.AddrPort { return netip.MustParseAddrPort(fmt.Sprintf("192.0.2.%d:1", i)) }
	c := d.keyed("guest")
	token := d.seal(c)
	for i := range coapapi.SourceRate {
		if _, _, err := api.Keys().Find(token, from(1)); err != nil {
			t.Fatalf("upload %d: %v", i, err)
		}
	}
	if _, _, err := api.Keys().Find(token, from(1)); err == nil {
		t.Error("one source may show a token as often as it likes")
	}
	if _, _, err := api.Keys().Find(token, from(2)); err != nil {
		t.Errorf("another source: %v", err)
	}
	identity, err := ace.PSKIdentity{KeyID: []byte("guest")}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	key, session, err := api.Keys().Find(identity, from(1))
	if err != nil || !bytes.Equal(key, c.Confirmation.Key.Secret()) || session == nil {
		t.Errorf("the key id: %v", err)
	}
	for i := range 2 * coapapi.UploadRate {
		_, _, err = api.Keys().Find(token, from(3+i%200))
	}
	if err == nil {
		t.Error("uploads in handshakes are not counted with the others")
	}
}

// TestBareUpload is CF 61 at /authz-info (RFC 9202 §3.3.1), in clear.
func TestBareUpload(t *testing.T) {
	s := newSecured(t)
	c := s.keyed("guest")
	token := s.seal(c)
	for range 2 {
		if answer := s.plain(bare(token)); answer.Code != codes.Created || len(answer.Payload) != 0 {
			t.Fatalf("got %v %x, want a bare 2.01", answer.Code, answer.Payload)
		}
	}
	late := s.keyed("late")
	late.Expires = time.Now().Add(-time.Second)
	foreign := s.keyed("foreign")
	foreign.Audience = "d234"
	for name, tt := range map[string]struct {
		request message.Message
		want    codes.Code
	}{
		"expired":                 {bare(s.seal(late)), codes.Unauthorized},
		"another audience":        {bare(s.seal(foreign)), codes.Forbidden},
		"the token of OSCORE":     {bare(s.seal(s.claims())), codes.BadRequest},
		"no token":                {bare(nil), codes.BadRequest},
		"in the form of OSCORE":   {uploadRequest(t, upload(token)), codes.BadRequest},
		"in the map of an update": {uploadRequest(t, ace.AuthzInfo{Token: token}), codes.BadRequest},
	} {
		if answer := s.plain(tt.request); answer.Code != tt.want || len(answer.Payload) != 0 {
			t.Errorf("%s: got %v %q, want a bare %v", name, answer.Code, answer.Payload, tt.want)
		}
	}
	conn, err := s.dial(ace.PSKIdentity{KeyID: []byte("guest")}, c.Confirmation.Key.Secret())
	if err != nil {
		t.Fatal(err)
	}
	wants(t, conn, unlock, codes.Changed)
	s.dtlsOff()
	if answer := s.plain(bare(token)); answer.Code != codes.UnsupportedMediaType {
		t.Errorf("a lock without DTLS: got %v", answer.Code)
	}
}

func (s *secured) dtlsOff() {
	s.device.Profile = pop.ProfileCoAPOSCORE
	s.start()
	s.learn()
}

// TestUpdateWithinTheAssociation is RFC 9202 §4: a newer token for the key replaces the rights, an older one does not, and one
// for another key makes a session of its own.
func TestUpdateWithinTheAssociation(t *testing.T) {
	s := newSecured(t)
	older, newer, other := s.keyed("guest"), s.keyed("guest"), s.keyed("other")
	newer.Confirmation = older.Confirmation
	newer.Scope = aif.New(aif.Entry{Path: "/door", Methods: aif.GET})
	oldToken := s.seal(older)
	conn, err := s.dial(ace.PSKIdentity{Token: oldToken}, older.Confirmation.Key.Secret())
	if err != nil {
		t.Fatal(err)
	}
	wants(t, conn, unlock, codes.Changed)
	wants(t, conn, bare(s.seal(newer)), codes.Created)
	wants(t, conn, unlock, codes.Forbidden)
	wants(t, conn, bare(oldToken), codes.Unauthorized)
	wants(t, conn, bare(s.seal(other)), codes.Created)
	wants(t, conn, unlock, codes.Forbidden)
	wants(t, conn, coapsec.NewRequest(codes.GET, "/door", coapsec.NoFormat, nil), codes.Content)
	s.wantOpened(1)
}

// TestRevokedAssociationIsAnsweredAndThenEnds: 4.01 first, so that the client knows, and then the alert (RFC 9202 §5).
func TestRevokedAssociationIsAnsweredAndThenEnds(t *testing.T) {
	s := newSecured(t)
	c := s.keyed("guest")
	token := s.seal(c)
	conn, err := s.dial(ace.PSKIdentity{Token: token}, c.Confirmation.Key.Secret())
	if err != nil {
		t.Fatal(err)
	}
	wants(t, conn, unlock, codes.Changed)
	bystander := s.enterKeyed(s.keyed("bystander"))
	hash := cwt.Hash(token)
	s.hear(1, news.HashesItem(hash[:]))
	wants(t, conn, unlock, codes.Unauthorized)
	deadline := time.Now().Add(coapapi.EndGrace + shakeTime)
	for err = nil; err == nil && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		_, err = conn.Exchange(t.Context(), unlock)
	}
	if !errors.Is(err, dtls.ErrLost) {
		t.Errorf("got %v, want %v", err, dtls.ErrLost)
	}
	wants(t, bystander, unlock, codes.Changed)
	s.wantOpened(2)
}

// TestOldAssociationIsChallenged: a handshake shows for 5 s that its client is there; afterwards what moves the bolt needs an
// Echo, of this session and good once (D15). Looking needs none.
func TestOldAssociationIsChallenged(t *testing.T) {
	s := newSecured(t)
	session := func(kid string) any {
		_, session, err := s.api.Keys().Find(s.seal(s.keyed(kid)), netip.MustParseAddrPort("192.0.2.9:1"))
		if err != nil {
			t.Fatal(err)
		}
		return session
	}
	ask := func(session any, m message.Message) message.Message {
		peer := coapsec.Peer{Address: "192.0.2.9:1", Session: session, Since: time.Now().Add(-coapsec.EchoLifetime - time.Second)}
		return s.security.ServeCoAP(t.Context(), &coapsec.Request{Message: m, Peer: peer})
	}
	mum, thief := session("mum"), session("thief")
	if got := ask(mum, coapsec.NewRequest(codes.GET, "/door", coapsec.NoFormat, nil)); got.Code != codes.Content {
		t.Errorf("looking: got %v", got.Code)
	}
	challenge := ask(mum, unlock)
	echo, err := challenge.Options.GetBytes(coapsec.OptionEcho)
	if challenge.Code != codes.Unauthorized || err != nil {
		t.Fatalf("got %v, %v, want 4.01 with an Echo", challenge.Code, err)
	}
	echoed := with(unlock, coapsec.OptionEcho, string(echo))
	for _, step := range []struct {
		name    string
		session any
		want    codes.Code
		opened  int32
	}{
		{"another session's Echo", thief, codes.Unauthorized, 0},
		{"her own", mum, codes.Changed, 1},
		{"her own again", mum, codes.Unauthorized, 1},
	} {
		if got := ask(step.session, echoed); got.Code != step.want {
			t.Errorf("%s: got %v, want %v", step.name, got.Code, step.want)
		}
		s.wantOpened(step.opened)
	}
}
