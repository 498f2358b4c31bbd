package resource_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/cwt"
	"github.com/latchkey-ace/latchkey/pop/news"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/resource"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// newKeyedWorld is a lock that speaks coap_dtls.
func newKeyedWorld(t testing.TB) *world {
	t.Helper()
	w := newWorld(t, provision.ShapeEncrypt0, provision.ClockSynced)
	w.device.Profile = pop.ProfileCoAPDTLS
	w.start()
	w.learn()
	return w
}

// keyedClaims are claims whose confirmation is a new DTLS key.
func (w *world) keyedClaims(kid string) *pop.Claims {
	k := make([]byte, 16)
	_, _ = rand.Read(k)
	return w.claimsFor(cose.NewSymmetric(k, cose.KeyID(kid)))
}

func (w *world) claimsFor(key *cose.Key) *pop.Claims {
	c := w.claims()
	c.Profile, c.Confirmation = pop.ProfileCoAPDTLS, pop.Confirmation{Key: key}
	return c
}

func (w *world) acceptToken(token []byte, origin resource.Origin) (*resource.Session, error) {
	return w.server.AcceptToken(context.Background(), token, origin)
}

// enterKeyed uploads a token and gives its session.
func (w *world) enterKeyed(c *pop.Claims) *resource.Session {
	w.t.Helper()
	s, err := w.acceptToken(w.seal(c), resource.Origin{})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// has says whether a handshake with this kid would find this key.
func (w *world) has(kid string, key []byte) bool {
	found, _, ok := w.server.PSK([]byte(kid))
	return ok && bytes.Equal(found, key)
}

func TestKeyOfATokenOpensAndExpires(t *testing.T) {
	w := newKeyedWorld(t)
	c := w.keyedClaims("guest")
	s := w.enterKeyed(c)
	if !w.has("guest", c.Confirmation.Key.Secret()) || s.Context() != nil || !bytes.Equal(s.Key(), c.Confirmation.Key.Secret()) {
		t.Error("the key of the token is not the key of its session")
	}
	if _, _, ok := w.server.PSK([]byte("guest ")); ok {
		t.Error("another kid was found")
	}
	if _, ok := w.server.Session([]byte("guest")); ok {
		t.Error("a DTLS key was found as an OSCORE context")
	}
	decided(t, w.ask(s, codes.GET, "/door"), 0, nil)
	if d := w.ask(s, codes.POST, "/door/unlock"); !d.Challenge {
		t.Errorf("an upload made a request fresh: %+v", d)
	}
	d, _ := w.press(s)
	decided(t, d, 0, nil)

	var ended []*resource.Session
	w.server.OnEnd(func(s *resource.Session) { ended = append(ended, s) })
	w.pass(time.Hour)
	decided(t, w.ask(s, codes.GET, "/door"), codes.Unauthorized, resource.ErrNoSession)
	if _, _, ok := w.server.PSK([]byte("guest")); ok || len(ended) != 1 || ended[0] != s {
		t.Errorf("after expiry: found %v, told of %d ends", ok, len(ended))
	}
}

func TestKeyedTokensThatAreRefused(t *testing.T) {
	k := bytes.Repeat([]byte{5, 6}, 8)
	tests := []struct {
		name   string
		change func(w *world, c *pop.Claims)
		code   codes.Code
		reason error
	}{
		{"profile left out", func(_ *world, c *pop.Claims) { c.Profile = 0 }, codes.BadRequest, resource.ErrBadConfirmation},
		{"profile of OSCORE", func(_ *world, c *pop.Claims) { c.Profile = pop.ProfileCoAPOSCORE }, codes.BadRequest, resource.ErrBadConfirmation},
		{"OSCORE material", func(_ *world, c *pop.Claims) {
			c.Confirmation = pop.Confirmation{OSCORE: &pop.InputMaterial{ID: []byte{1}, MasterSecret: k}}
		}, codes.BadRequest, resource.ErrBadConfirmation},
		{"kid alone", func(_ *world, c *pop.Claims) { c.Confirmation = pop.Confirmation{KeyID: cose.KeyID("a")} }, codes.BadRequest, resource.ErrBadConfirmation},
		{"no kid", func(_ *world, c *pop.Claims) { c.Confirmation.Key = cose.NewSymmetric(k, nil) }, codes.BadRequest, resource.ErrBadConfirmation},
		{"long kid", func(_ *world, c *pop.Claims) { c.Confirmation.Key = cose.NewSymmetric(k, make([]byte, 33)) }, codes.BadRequest, resource.ErrBadConfirmation},
		{"public key", func(w *world, c *pop.Claims) { c.Confirmation.Key = w.device.ASKeys[0] }, codes.BadRequest, resource.ErrBadConfirmation},
		{"kid of another client", func(w *world, c *pop.Claims) {
			w.enterKeyed(w.claimsFor(cose.NewSymmetric(k, cose.KeyID("taken"))))
			c.Confirmation.Key = cose.NewSymmetric(bytes.Repeat([]byte{9}, 16), cose.KeyID("taken"))
		}, codes.BadRequest, resource.ErrBadConfirmation},
		{"another audience", func(_ *world, c *pop.Claims) { c.Audience = "d234" }, codes.Forbidden, resource.ErrWrongAudience},
		{"expired", func(w *world, c *pop.Claims) { c.Expires = w.now }, codes.Unauthorized, resource.ErrExpired},
		{"no DTLS on this lock", func(w *world, _ *pop.Claims) {
			w.device.Profile = pop.ProfileCoAPOSCORE
			w.start()
			w.learn()
		}, codes.BadRequest, resource.ErrBadConfirmation},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newKeyedWorld(t)
			c := w.claimsFor(cose.NewSymmetric(k, cose.KeyID("a")))
			tt.change(w, c)
			_, err := w.acceptToken(w.seal(c), resource.Origin{})
			refused(t, err, tt.code, tt.reason)
		})
	}
}

func TestSignedTokenCarriesNoDTLSKey(t *testing.T) {
	w := newWorld(t, provision.ShapeSign1, provision.ClockSynced)
	w.device.Profile = pop.ProfileCoAPDTLS
	if _, err := resource.New(resource.Config{Device: w.device, Store: w.store, Clock: w.clock}, w.options); err == nil {
		t.Error("a lock whose tokens are readable would take DTLS keys from them") // D7
	}
}

func TestKeyedTokenInTheWrongForm(t *testing.T) {
	w := newKeyedWorld(t)
	_, err := w.accept(upload(w.seal(w.keyedClaims("a"))))
	refused(t, err, codes.BadRequest, resource.ErrBadConfirmation)
	_, err = w.acceptToken(w.seal(w.claims()), resource.Origin{})
	refused(t, err, codes.BadRequest, resource.ErrBadConfirmation)
	_, err = w.accept(upload(w.seal(w.claims())))
	refused(t, err, codes.BadRequest, resource.ErrBadConfirmation) // one device, one profile
}

func TestEveryFlippedBitOfAKeyedTokenIsRefused(t *testing.T) {
	w := newKeyedWorld(t)
	token := w.seal(w.keyedClaims("a"))
	for i := range len(token) * 8 {
		bad := bytes.Clone(token)
		bad[i/8] ^= 1 << (i % 8)
		if _, err := w.acceptToken(bad, resource.Origin{}); err == nil {
			t.Fatalf("bit %d flipped: accepted", i)
		}
	}
	for n := range token {
		if _, err := w.acceptToken(token[:n], resource.Origin{}); err == nil {
			t.Fatalf("cut after %d bytes: accepted", n)
		}
	}
}

// TestNewerTokenReplacesRightsOfTheRunningSession is RFC 9202 §4, and that a late older token restores nothing.
func TestNewerTokenReplacesRightsOfTheRunningSession(t *testing.T) {
	w := newKeyedWorld(t)
	older := w.keyedClaims("guest")
	newer := w.claimsFor(older.Confirmation.Key)
	newer.Scope = aif.New(aif.Entry{Path: "/door", Methods: aif.GET})
	oldToken := w.seal(older)
	s, err := w.acceptToken(oldToken, resource.Origin{})
	if err != nil {
		t.Fatal(err)
	}
	ends := 0
	w.server.OnEnd(func(*resource.Session) { ends++ })
	d, _ := w.press(s)
	decided(t, d, 0, nil)
	if again := w.enterKeyed(newer); again != s || ends != 0 {
		t.Errorf("the session did not go on: %v, %d ends", again == s, ends)
	}
	d, _ = w.press(s)
	decided(t, d, codes.Forbidden, resource.ErrPathNotCovered)
	_, err = w.acceptToken(oldToken, resource.Origin{})
	refused(t, err, codes.Unauthorized, resource.ErrSuperseded)
	d, _ = w.press(s)
	decided(t, d, codes.Forbidden, resource.ErrPathNotCovered)
	decided(t, w.ask(s, codes.GET, "/door"), 0, nil)
}

func TestSameKeyedTokenAgainChangesNothing(t *testing.T) {
	w := newKeyedWorld(t)
	token := w.seal(w.keyedClaims("guest"))
	s, err := w.acceptToken(token, resource.Origin{Server: true})
	if err != nil {
		t.Fatal(err)
	}
	before, _ := json.Marshal(stateOf(t, w))
	again, err := w.acceptToken(token, resource.Origin{})
	if err != nil || again != s {
		t.Fatalf("got another session, %v", err)
	}
	if after, _ := json.Marshal(stateOf(t, w)); !bytes.Equal(before, after) {
		t.Errorf("got %s, want %s", after, before)
	}
}

func stateOf(t *testing.T, w *world) resource.State {
	t.Helper()
	state, err := w.store.Load()
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func TestRevocationEndsTheAssociation(t *testing.T) {
	w := newKeyedWorld(t)
	c := w.keyedClaims("guest")
	token := w.seal(c)
	s, err := w.acceptToken(token, resource.Origin{})
	if err != nil {
		t.Fatal(err)
	}
	var ended *resource.Session
	w.server.OnEnd(func(s *resource.Session) { ended = s })
	hash := cwt.Hash(token)
	w.hear(channel, 1, news.HashesItem(hash[:]))
	if ended != s || w.has("guest", c.Confirmation.Key.Secret()) {
		t.Error("the key outlived its revocation")
	}
	_, err = w.acceptToken(token, resource.Origin{})
	refused(t, err, codes.Unauthorized, resource.ErrRevoked)
}

// TestUsedUpKeyAnswersAWhile: after the one use the client may have to shake hands again to learn that it happened (D14).
func TestUsedUpKeyAnswersAWhile(t *testing.T) {
	w := newKeyedWorld(t)
	c := w.keyedClaims("guest")
	c.Scope = aif.New(aif.Entry{Path: "/door/unlock", Methods: aif.POST})
	c.Grant.Once = []uint{0}
	s := w.enterKeyed(c)
	ends := 0
	w.server.OnEnd(func(*resource.Session) { ends++ })
	d, _ := w.press(s)
	decided(t, d, 0, nil)
	if !w.has("guest", c.Confirmation.Key.Secret()) || ends != 0 {
		t.Error("the client cannot learn what happened")
	}
	d, _ = w.press(s)
	decided(t, d, codes.Forbidden, resource.ErrUsed)
	if stored := stateOf(t, w); len(stored.Sessions) != 0 {
		t.Error("the used-up key is still stored")
	}
	w.pass(resource.Linger + time.Second)
	if w.has("guest", c.Confirmation.Key.Secret()) || ends != 1 {
		t.Errorf("after a while: %d ends", ends)
	}
	_, err := w.acceptToken(w.seal(c), resource.Origin{})
	refused(t, err, codes.Forbidden, resource.ErrUsed)
}

func TestKeysSurvivePowerCuts(t *testing.T) {
	w := newKeyedWorld(t)
	c := w.keyedClaims("guest")
	s := w.enterKeyed(c)
	w.clock.powerCut()
	w.start()
	w.learn()
	key, restored, ok := w.server.PSK([]byte("guest"))
	if !ok || !bytes.Equal(key, c.Confirmation.Key.Secret()) {
		t.Fatal("the key did not survive")
	}
	decided(t, w.ask(restored, codes.GET, "/door"), 0, nil)
	if restored == s {
		t.Error("a session of the last run is one of this run")
	}
}

func TestStrangersUploadsDisplaceNoUsedKey(t *testing.T) {
	w := newKeyedWorld(t)
	mum := w.keyedClaims("mum")
	decided(t, w.ask(w.enterKeyed(mum), codes.GET, "/door"), 0, nil)
	for i := range resource.MaxUnconfirmed + 3 {
		w.enterKeyed(w.keyedClaims(string(rune('a' + i))))
	}
	if !w.has("mum", mum.Confirmation.Key.Secret()) {
		t.Error("a used key made room for unused ones")
	}
	if _, _, ok := w.server.PSK([]byte("a")); ok {
		t.Error("the oldest unused key did not make room")
	}
}
