package resource_test

import (
	"context"
	"encoding/binary"
	"fmt"
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

// countingStore counts what reaches the flash.
type countingStore struct {
	resource.Store
	saves int
}

func (c *countingStore) Save(s resource.State) error {
	c.saves++
	return c.Store.Save(s)
}

// count replaces the server by one whose writes are counted.
func (w *world) count() *countingStore {
	w.t.Helper()
	store := &countingStore{Store: w.store}
	server, err := resource.New(resource.Config{Device: w.device, Store: store, Clock: w.clock}, w.options)
	if err != nil {
		w.t.Fatal(err)
	}
	w.server = server
	w.handle("unlock", w.unlock)
	w.handle("view", func(context.Context, resource.Call) (resource.Answer, error) { return resource.Answer{}, nil })
	w.learn()
	return store
}

// TestReplayedUploadsWriteNothing: who has seen one upload can send it again for ever.
func TestReplayedUploadsWriteNothing(t *testing.T) {
	w := lock(t)
	store := w.count()
	token := w.seal(w.claims())
	if w.enterToken(token); store.saves == 0 {
		t.Fatal("an accepted token was not stored")
	}
	before := store.saves
	var newest *resource.Session
	for range 20 {
		newest = w.enterToken(token)
	}
	if got := store.saves - before; got != 0 {
		t.Errorf("20 replays wrote %d times", got)
	}
	w.ask(newest, codes.GET, "/door") // its holder has shown the key
	w.start()
	if _, ok := w.server.Session(newest.Context().RecipientID()); !ok {
		t.Error("a context in use was lost")
	}
}

func (w *world) enterToken(token []byte) *resource.Session {
	w.t.Helper()
	return w.session(upload(token), resource.Origin{})
}

// TestNumbersOfADisplacedSessionAreNotReused: what memory alone knows to be gone comes back with the next start, and must
// not begin to count from zero again.
func TestNumbersOfADisplacedSessionAreNotReused(t *testing.T) {
	w := lock(t)
	token := w.seal(w.claims())
	displaced := w.enterToken(token)
	w.enterToken(token)
	used := ownNumber(t, displaced) // a request that was on its way
	w.start()
	if again, ok := w.server.Session(displaced.Context().RecipientID()); ok && ownNumber(t, again) == used {
		t.Error("a sender number was used twice under one key")
	}
}

// TestUnknownTimeMakesNothingFresh: a clock that fails must not stop the time within which things are fresh.
func TestUnknownTimeMakesNothingFresh(t *testing.T) {
	tests := map[string]func(*fakeClock){
		"no clock any more":     func(c *fakeClock) { c.uptime, c.boot = 0, "" },
		"a clock that ran back": func(c *fakeClock) { c.uptime -= time.Minute },
	}
	for name, fail := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, provision.ShapeEncrypt0, provision.ClockSynced)
			w.device.Clock, w.device.RequireCNonce = provision.ClockRelative, true
			w.start()
			c := w.claims()
			c.CNonce = w.nonce()
			s := w.enter(c)
			nonce := w.nonce()
			fail(w.clock)
			if d := w.ask(s, codes.POST, "/door/unlock"); d.Allowed() {
				t.Error("the bolt moved without an echo")
			}
			c = w.claims()
			c.CNonce = nonce
			_, err := w.accept(upload(w.seal(c)))
			refused(t, err, codes.Unauthorized, resource.ErrNoCNonce)
		})
	}
}

// TestFloodForNoncesDoesNotDisplaceOne: anyone may ask for a nonce.
func TestFloodForNoncesDoesNotDisplaceOne(t *testing.T) {
	w := newWorld(t, provision.ShapeEncrypt0, provision.ClockSynced)
	w.device.RequireCNonce = true
	w.start()
	c := w.claims()
	c.CNonce = w.nonce()
	for range 10_000 {
		w.nonce()
	}
	token := w.seal(c)
	w.enterToken(token)
	_, err := w.accept(upload(token))
	refused(t, err, codes.Unauthorized, resource.ErrNoCNonce)
}

// TestNonceNobodyGaveIsNone: before the first one there is no key to make it with, and none to guess.
func TestNonceNobodyGaveIsNone(t *testing.T) {
	w := newWorld(t, provision.ShapeEncrypt0, provision.ClockSynced)
	w.device.RequireCNonce = true
	w.start()
	c := w.claims()
	c.CNonce = make([]byte, 24)
	binary.BigEndian.PutUint64(c.CNonce, uint64(time.Hour))
	_, err := w.accept(upload(w.seal(c)))
	refused(t, err, codes.Unauthorized, resource.ErrNoCNonce)
}

// TestGuestCannotTakeAllRoom: a guest with many tokens shuts out nobody but himself.
func TestGuestCannotTakeAllRoom(t *testing.T) {
	w := newWorld(t, provision.ShapeEncrypt0, provision.ClockNone)
	old := w.enter(w.claims()) // of another guest, with the lowest sequence number
	decided(t, w.ask(old, codes.GET, "/door"), codes.Empty, nil)
	grant := pop.GrantID{0xee}
	flood := func(each func(ace.AuthzInfoAnswer)) (taken int) {
		for range 2 * resource.MaxCounts {
			c := w.claims()
			c.Grant.Grant = grant
			answer, err := w.accept(upload(w.seal(c)))
			if err != nil {
				refused(t, err, codes.ServiceUnavailable, resource.ErrNoRoom)
				continue
			}
			taken++
			each(answer)
		}
		return taken
	}
	if got := flood(func(a ace.AuthzInfoAnswer) { w.ask(w.find(a), codes.GET, "/door") }); got != resource.MaxOfGrant {
		t.Errorf("got %d sessions of one grant, want %d", got, resource.MaxOfGrant)
	}
	grant = pop.GrantID{0xef} // one that only shows its tokens
	flood(func(ace.AuthzInfoAnswer) {})
	decided(t, w.ask(old, codes.GET, "/door"), codes.Empty, nil)
	owner := w.claims()
	owner.Grant.Grant = pop.GrantID{}
	w.enter(owner)
}

// TestPanicInAnActionIsUnknown: the bolt may have moved, and the log goes on.
func TestPanicInAnActionIsUnknown(t *testing.T) {
	w := lock(t)
	s := w.enter(w.claims())
	w.unlock = func(context.Context, resource.Call) (resource.Answer, error) { panic("motor") }
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		w.press(s)
	}()
	w.unlock = func(context.Context, resource.Call) (resource.Answer, error) { return resource.Answer{}, nil }
	w.press(s)
	entries, err := w.server.Log(1) // 1 is the acceptance
	if err != nil || len(entries) != 2 || entries[0].Result != resource.Unknown || entries[1].Result != resource.Done {
		t.Errorf("got %+v, %v, want an unknown outcome and a known one", entries, err)
	}
}

// TestOtherNewsOfOneNumberIsRefused: a restored server that numbers alike must not believe that its news was applied.
func TestOtherNewsOfOneNumberIsRefused(t *testing.T) {
	w := lock(t)
	token := w.seal(w.claims())
	hash := cwt.Hash(token)
	w.hear(channel, 5, news.TimeItem(w.now))
	_, err := w.server.Apply(context.Background(), w.sealNews(5, news.HashesItem(hash[:])), channel)
	refused(t, err, codes.BadRequest, resource.ErrOldNews)
}

// TestRevocationWithoutRoomIsNotConfirmed: a guest may hold more tokens than a device can remember as revoked.
func TestRevocationWithoutRoomIsNotConfirmed(t *testing.T) {
	w := lock(t)
	first := w.seal(w.claims()) // never shown before it is revoked
	revoke := func(sequence uint64, token []byte) bool {
		hash := cwt.Hash(token)
		return w.hear(channel, sequence, news.HashesItem(hash[:])).Applied
	}
	if !revoke(1, first) {
		t.Fatal("not applied")
	}
	for n := range resource.MaxRevoked - 1 {
		if !revoke(uint64(2+n), fmt.Append(nil, n)) {
			t.Fatalf("number %d was not applied", n)
		}
	}
	if revoke(1000, []byte("one more")) {
		_, err := w.accept(upload(first))
		t.Errorf("applied, and the first revoked token gets: %v", err)
	}
	_, err := w.accept(upload(first))
	refused(t, err, codes.Unauthorized, resource.ErrRevoked)
	w.pass(resource.RevokedFor)
	w.learn()
	if !revoke(1001, []byte("one more")) {
		t.Error("tokens that are over by now keep their place for ever")
	}
}

// TestLaterTokenIsNotUndone: of two tokens for one key the later one stays, whatever is shown again and in which order.
func TestLaterTokenIsNotUndone(t *testing.T) {
	w := lock(t)
	wide := w.claims()
	narrow := w.claims()
	narrow.Confirmation = wide.Confirmation
	narrow.Scope = aif.New(aif.Entry{Path: "/door", Methods: aif.GET})
	early, late := upload(w.seal(wide)), upload(w.seal(narrow))
	before := w.session(early, resource.Origin{})
	after := w.session(late, channel)
	for name, in := range map[string]ace.AuthzInfo{"the same upload": early, "a new one": upload(early.Token)} {
		for _, origin := range []resource.Origin{{}, channel} {
			_, err := w.server.Accept(context.Background(), in, origin)
			if err == nil {
				t.Errorf("%s: the earlier token was taken", name)
			}
		}
	}
	decided(t, w.ask(before, codes.POST, "/door/unlock"), codes.Unauthorized, resource.ErrNoSession)
	decided(t, w.ask(after, codes.POST, "/door/unlock"), codes.Forbidden, resource.ErrPathNotCovered)
}
