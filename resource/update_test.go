package resource_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/cwt"
	"github.com/latchkey-ace/latchkey/pop/news"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/resource"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// next are claims for the same key, and the right to look.
func (w *world) next(first *pop.Claims) *pop.Claims {
	c := w.claims()
	c.Scope = aif.New(aif.Entry{Path: "/door", Methods: aif.GET})
	c.Grant = first.Grant
	c.Confirmation = pop.Confirmation{KeyID: first.Confirmation.OSCORE.ID}
	return c
}

// sealUpdate makes the token as it is: a signature is enough, for there is no key in it.
func (w *world) sealUpdate(c *pop.Claims) []byte {
	w.t.Helper()
	if w.device.Token == provision.ShapeEncrypt0 {
		return w.seal(c)
	}
	token, err := cwt.Seal(c, cwt.Sign1{Signer: w.signer, ID: []byte("as1")}, rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

func (w *world) update(s *resource.Session, token []byte) error {
	_, err := w.server.Accept(context.Background(), ace.AuthzInfo{Token: token}, resource.Origin{Address: "192.0.2.9:5683", Session: s})
	return err
}

// TestUpdateOfASession: the rights change, the context and its numbers go on, and that outlives a power cut (RFC 9203 §4.4).
func TestUpdateOfASession(t *testing.T) {
	for _, shape := range []provision.Shape{provision.ShapeEncrypt0, provision.ShapeSign1} {
		w := newWorld(t, shape, provision.ClockSynced)
		first := w.claims()
		s := w.enter(first)
		d, _ := w.press(s)
		decided(t, d, 0, nil)
		before := ownNumber(t, s)
		token := w.sealUpdate(w.next(first))
		for range 2 { // a lost answer, and the same again
			if err := w.update(s, token); err != nil {
				t.Fatal(err)
			}
		}
		decided(t, w.ask(s, codes.GET, "/door"), 0, nil)
		d, _ = w.press(s)
		decided(t, d, codes.Forbidden, resource.ErrPathNotCovered)
		if ownNumber(t, s) == before {
			t.Error("a partial IV was used twice")
		}
		kid := s.Context().RecipientID()
		w.start()
		w.learn()
		again, ok := w.server.Session(kid)
		if !ok {
			t.Fatal("the session is gone")
		}
		decided(t, w.ask(again, codes.GET, "/door"), 0, nil)
		d, _ = w.press(again)
		decided(t, d, codes.Forbidden, resource.ErrPathNotCovered)
		if w.opened != 1 {
			t.Errorf("opened %d times", w.opened)
		}
	}
}

// TestUpdatesThatAreRefused leave the session as it was.
func TestUpdatesThatAreRefused(t *testing.T) {
	w := newWorld(t, provision.ShapeEncrypt0, provision.ClockSynced)
	stranger := w.claims()
	older := w.next(stranger)
	first := w.claims()
	older.Confirmation.KeyID = first.Confirmation.OSCORE.ID
	s := w.enter(first)
	other := w.enter(stranger)
	tests := []struct {
		name   string
		change func(*pop.Claims)
		by     *resource.Session
		code   codes.Code
		reason error
	}{
		{"outside of its context", func(*pop.Claims) {}, nil, codes.BadRequest, resource.ErrBadConfirmation},
		{"in another context", func(*pop.Claims) {}, other, codes.Unauthorized, resource.ErrBadConfirmation},
		{"another key", func(c *pop.Claims) { c.Confirmation.KeyID = []byte{9, 9} }, s, codes.Unauthorized, resource.ErrBadConfirmation},
		{"a key inside", func(c *pop.Claims) { c.Confirmation = first.Confirmation }, s, codes.Unauthorized, resource.ErrBadConfirmation},
		{"another profile", func(c *pop.Claims) { c.Profile = pop.ProfileCoAPDTLS }, s, codes.Unauthorized, resource.ErrBadConfirmation},
		{"another audience", func(c *pop.Claims) { c.Audience = "dother" }, s, codes.Forbidden, resource.ErrWrongAudience},
		{"expired", func(c *pop.Claims) { c.Expires = w.now }, s, codes.Unauthorized, resource.ErrExpired},
		{"more than the device has", func(c *pop.Claims) { c.Scope = aif.New(aif.Entry{Path: "/cellar", Methods: aif.GET}) }, s, codes.BadRequest, resource.ErrUnknownScope},
		{"older than the token it would replace", func(c *pop.Claims) { *c = *older }, s, codes.Unauthorized, resource.ErrSuperseded},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := w.next(first)
			tt.change(c)
			token := w.seal(c)
			var err error
			if tt.by == nil {
				_, err = w.accept(upload(token))
				refused(t, err, tt.code, tt.reason)
				_, err = w.accept(ace.AuthzInfo{Token: token})
				refused(t, err, codes.BadRequest, resource.ErrMalformed)
				_, err = w.server.Accept(t.Context(), upload(token), resource.Origin{Server: true})
			} else {
				err = w.update(tt.by, token)
			}
			refused(t, err, tt.code, tt.reason)
			d, _ := w.press(s)
			decided(t, d, 0, nil)
		})
	}
}

// TestUpdateNarrowsAllOfAKey: an older context of the same key, with wider rights, ends; the first token opens none anew.
func TestUpdateNarrowsAllOfAKey(t *testing.T) {
	w := newWorld(t, provision.ShapeEncrypt0, provision.ClockSynced)
	first := w.claims()
	token := w.seal(first)
	s := w.session(upload(token), resource.Origin{Server: true})
	spare := w.session(upload(token), resource.Origin{})
	if err := w.update(s, w.seal(w.next(first))); err != nil {
		t.Fatal(err)
	}
	decided(t, w.ask(spare, codes.GET, "/door"), codes.Unauthorized, resource.ErrNoSession)
	_, err := w.accept(upload(token))
	refused(t, err, codes.Unauthorized, resource.ErrSuperseded)
}

// TestUpdateIsNotFreshness: an update does not stand for an Echo (D15).
func TestUpdateIsNotFreshness(t *testing.T) {
	w := newWorld(t, provision.ShapeEncrypt0, provision.ClockSynced)
	first := w.claims()
	s := w.enter(first)
	w.pass(resource.FreshFor + time.Second)
	c := w.next(first)
	c.Scope = first.Scope
	if err := w.update(s, w.seal(c)); err != nil {
		t.Fatal(err)
	}
	if d := w.ask(s, codes.POST, "/door/unlock"); !d.Challenge {
		t.Errorf("got %+v, want a challenge", d)
	}
}

// TestRevokedUpdate: the hash of the update ends the session, and it cannot come back.
func TestRevokedUpdate(t *testing.T) {
	w := newWorld(t, provision.ShapeEncrypt0, provision.ClockSynced)
	first := w.claims()
	old := w.seal(first)
	s := w.session(upload(old), resource.Origin{})
	token := w.seal(w.next(first))
	if err := w.update(s, token); err != nil {
		t.Fatal(err)
	}
	hash := cwt.Hash(token)
	w.hear(resource.Origin{Server: true}, 1, news.HashesItem(hash[:]))
	decided(t, w.ask(s, codes.GET, "/door"), codes.Unauthorized, resource.ErrNoSession)
	if err := w.update(s, token); err == nil {
		t.Error("a revoked update was taken")
	}
}

// TestUpdateOfAUsedKey: a key whose actions are used up is gone; no update brings it back (D14).
func TestUpdateOfAUsedKey(t *testing.T) {
	w := newWorld(t, provision.ShapeEncrypt0, provision.ClockSynced)
	first := w.claims()
	first.Scope = aif.New(aif.Entry{Path: "/door/unlock", Methods: aif.POST})
	first.Grant.Once = []uint{0}
	s := w.enter(first)
	d, _ := w.press(s)
	decided(t, d, 0, nil)
	refused(t, w.update(s, w.seal(w.next(first))), codes.Unauthorized, resource.ErrNoSession)
}

// TestKeyedUpdateByName: over DTLS too a token may name its key, in the session of that key alone (RFC 9202 §4).
func TestKeyedUpdateByName(t *testing.T) {
	w := newKeyedWorld(t)
	c := w.keyedClaims("guest")
	s := w.enterKeyed(c)
	other := w.enterKeyed(w.keyedClaims("other"))
	named := w.keyedClaims("guest")
	named.Confirmation = pop.Confirmation{KeyID: []byte("guest")}
	named.Scope = aif.New(aif.Entry{Path: "/door", Methods: aif.GET})
	token := w.seal(named)
	for name, by := range map[string]*resource.Session{"nobody": nil, "another": other} {
		if _, err := w.acceptToken(token, resource.Origin{Session: by}); !errors.Is(err, resource.ErrBadConfirmation) {
			t.Errorf("%s: %v", name, err)
		}
	}
	got, err := w.acceptToken(token, resource.Origin{Session: s})
	if err != nil || got != s || !bytes.Equal(s.Key(), c.Confirmation.Key.Secret()) || !w.has("guest", c.Confirmation.Key.Secret()) {
		t.Fatalf("got %v, %v", got, err)
	}
	decided(t, w.ask(s, codes.GET, "/door"), 0, nil)
	d, _ := w.press(s)
	decided(t, d, codes.Forbidden, resource.ErrPathNotCovered)
}
