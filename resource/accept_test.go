package resource_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/cwt"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/resource"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// flaw is one reason to refuse a token. Its parts are applied in order, each where it has one.
type flaw struct {
	name    string
	code    codes.Code
	reason  error
	device  func(*provision.Device) // before the device starts
	claims  func(*world, *pop.Claims)
	before  func(*world, *pop.Claims)    // what happened at the device earlier
	token   func(w *world, token []byte) // also changes the token's bytes
	payload func(*ace.AuthzInfo)
}

// flaws stand in the order in which they decide the answer (RFC 9200 §5.10.1.1).
var flaws = []flaw{
	{name: "nonce1 too short", code: codes.BadRequest, reason: resource.ErrMalformed,
		payload: func(in *ace.AuthzInfo) { in.Nonce1 = in.Nonce1[:7] }},
	{name: "protected by another key", code: codes.Unauthorized, reason: resource.ErrBadProtection,
		token: func(_ *world, token []byte) { token[len(token)-1] ^= 1 }},
	{name: "another issuer", code: codes.Unauthorized, reason: resource.ErrWrongIssuer,
		claims: func(_ *world, c *pop.Claims) { c.Issuer = "https://other.example" }},
	{name: "expired by one second", code: codes.Unauthorized, reason: resource.ErrExpired,
		claims: func(w *world, c *pop.Claims) { c.Expires = w.now.Add(-time.Second) }},
	{name: "sequence number has passed", code: codes.Unauthorized, reason: resource.ErrReplayOfExpired,
		claims: func(_ *world, c *pop.Claims) { c.ExpiresIn = time.Hour },
		before: func(w *world, c *pop.Claims) {
			w.edit(func(s *resource.State) { s.HighestExpired = w.sequence })
		}},
	{name: "another audience", code: codes.Forbidden, reason: resource.ErrWrongAudience,
		claims: func(_ *world, c *pop.Claims) { c.Audience = "daaaaaaaaaaaaa" }},
	{name: "id of another device", code: codes.Unauthorized, reason: resource.ErrForeignID,
		claims: func(_ *world, c *pop.Claims) { c.ID[0] ^= 1 }},
	{name: "unknown scope", code: codes.BadRequest, reason: resource.ErrUnknownScope,
		claims: func(_ *world, c *pop.Claims) {
			c.Scope = aif.New(append(c.Scope, aif.Entry{Path: "/admin", Methods: aif.POST})...)
		}},
	{name: "no cnonce", code: codes.Unauthorized, reason: resource.ErrNoCNonce,
		device: func(d *provision.Device) { d.RequireCNonce = true }},
	{name: "revoked", code: codes.Unauthorized, reason: resource.ErrRevoked,
		token: func(w *world, token []byte) {
			hash := cwt.Hash(token)
			w.edit(func(s *resource.State) { s.Revoked = append(s.Revoked, resource.Revoked{Hash: hash[:]}) })
		}},
	{name: "earlier epoch", code: codes.Unauthorized, reason: resource.ErrOldEpoch,
		before: func(w *world, _ *pop.Claims) { w.edit(func(s *resource.State) { s.Epoch = 2 }) }},
	{name: "every action used up", code: codes.Forbidden, reason: resource.ErrUsed,
		claims: func(_ *world, c *pop.Claims) {
			c.Scope = c.Scope.Without(aif.New(aif.Entry{Path: "/door", Methods: aif.GET}))
			c.Grant.Once = nil
			for i := range c.Scope {
				c.Grant.Once = append(c.Grant.Once, uint(i))
			}
		},
		before: func(w *world, c *pop.Claims) {
			w.edit(func(s *resource.State) {
				for _, e := range c.Scope {
					s.Spent = append(s.Spent, resource.Spent{Grant: c.Grant.Grant, Path: e.Path, Methods: e.Methods, Expires: w.now.Add(time.Hour)})
				}
			})
		}},
	{name: "another profile", code: codes.BadRequest, reason: resource.ErrBadConfirmation,
		claims: func(_ *world, c *pop.Claims) { c.Profile = pop.ProfileCoAPDTLS }},
	{name: "superseded", code: codes.Unauthorized, reason: resource.ErrSuperseded,
		before: func(w *world, c *pop.Claims) {
			newer := w.claims()
			newer.Confirmation, newer.ID = c.Confirmation, w.id(w.sequence+1000)
			newer.Grant.Epoch = max(1, w.server.Standing().Epoch)
			if w.device.RequireCNonce {
				newer.CNonce = w.nonce()
			}
			w.enter(newer)
		}},
}

func (w *world) nonce() []byte {
	w.t.Helper()
	nonce, err := w.server.NewNonce()
	if err != nil {
		w.t.Fatal(err)
	}
	return nonce
}

// offer builds an upload with flaws at a device of a shape.
func offer(t *testing.T, shape provision.Shape, flaws ...flaw) (*world, ace.AuthzInfo) {
	t.Helper()
	w := newWorld(t, shape, provision.ClockSynced)
	for _, f := range flaws {
		if f.device != nil {
			f.device(w.device)
			w.start()
		}
	}
	c := w.claims()
	for _, f := range flaws {
		if f.claims != nil {
			f.claims(w, c)
		}
	}
	for _, f := range flaws {
		if f.before != nil {
			f.before(w, c)
		}
	}
	token := w.seal(c)
	for i := len(flaws) - 1; i >= 0; i-- { // the broken tag last, so that the hash is that of the whole token
		if flaws[i].token != nil {
			flaws[i].token(w, token)
		}
	}
	in := upload(token)
	for _, f := range flaws {
		if f.payload != nil {
			f.payload(&in)
		}
	}
	return w, in
}

func TestEachFlawRefusesTheToken(t *testing.T) {
	for _, shape := range []provision.Shape{provision.ShapeEncrypt0, provision.ShapeSign1} {
		t.Run(shape.String(), func(t *testing.T) {
			w, in := offer(t, shape)
			if _, err := w.accept(in); err != nil {
				t.Fatalf("without a flaw: %v", err)
			}
			for _, f := range flaws {
				t.Run(f.name, func(t *testing.T) {
					w, in := offer(t, shape, f)
					_, err := w.accept(in)
					refused(t, err, f.code, f.reason)
				})
			}
		})
	}
}

// TestEarlierFlawDecides combines every two flaws: the answer tells of the one that is checked first.
func TestEarlierFlawDecides(t *testing.T) {
	exclusive := map[string]string{
		"sequence number has passed": "id of another device", // only an id of this device has a sequence number
	}
	for i, first := range flaws {
		for _, second := range flaws[i+1:] {
			if exclusive[first.name] == second.name {
				continue
			}
			t.Run(first.name+", "+second.name, func(t *testing.T) {
				w, in := offer(t, provision.ShapeSign1, first, second)
				_, err := w.accept(in)
				refused(t, err, first.code, first.reason)
			})
		}
	}
}

func TestTokenOfAnotherDevice(t *testing.T) {
	for shape, want := range map[provision.Shape]flaw{
		provision.ShapeEncrypt0: {code: codes.Unauthorized, reason: resource.ErrBadProtection},
		provision.ShapeSign1:    {code: codes.Forbidden, reason: resource.ErrWrongAudience},
	} {
		w, other := newWorld(t, shape, provision.ClockSynced), newWorld(t, shape, provision.ClockSynced)
		other.signer = w.signer
		_, err := w.accept(upload(other.seal(other.claims())))
		refused(t, err, want.code, want.reason)
	}
}

func TestTokenOfAnotherShapeIsNotProtected(t *testing.T) {
	w := newWorld(t, provision.ShapeSign1, provision.ClockSynced)
	w.device.Token = provision.ShapeEncrypt0 // the server's mistake, or a thief of the token key
	token := w.seal(w.claims())
	w.device.Token = provision.ShapeSign1
	_, err := w.accept(upload(token))
	refused(t, err, codes.Unauthorized, resource.ErrBadProtection)

	w = newWorld(t, provision.ShapeEncrypt0, provision.ClockSynced)
	w.device.Token = provision.ShapeSign1
	token = w.seal(w.claims())
	w.device.Token = provision.ShapeEncrypt0
	_, err = w.accept(upload(token))
	refused(t, err, codes.Unauthorized, resource.ErrBadProtection)
}

func TestEveryFlippedBitAndTruncationIsRefused(t *testing.T) {
	w := newWorld(t, provision.ShapeEncrypt0, provision.ClockSynced)
	token := w.seal(w.claims())
	for bit := range 8 * len(token) {
		broken := bytes.Clone(token)
		broken[bit/8] ^= 1 << (bit % 8)
		if _, err := w.accept(upload(broken)); err == nil {
			t.Errorf("bit %d: accepted", bit)
		}
	}
	for n := range token {
		if _, err := w.accept(upload(token[:n])); err == nil {
			t.Errorf("%d of %d bytes: accepted", n, len(token))
		}
	}
	if _, err := w.accept(upload(token)); err != nil {
		t.Errorf("whole: %v", err)
	}
}

func TestAnswerHasFreshNonceAndFreeID(t *testing.T) {
	w := newWorld(t, provision.ShapeEncrypt0, provision.ClockSynced)
	token := w.seal(w.claims())
	seen := map[string]bool{}
	for range 50 {
		in := upload(token)
		in.ClientRecipientID = []byte{7, 7}
		answer, err := w.accept(in)
		if err != nil {
			t.Fatal(err)
		}
		if len(answer.Nonce2) != 8 || seen[string(answer.Nonce2)] {
			t.Errorf("nonce2 %x: want 8 new bytes", answer.Nonce2)
		}
		seen[string(answer.Nonce2)] = true
		id := answer.ServerRecipientID
		if bytes.Equal(id, in.ClientRecipientID) || bytes.Equal(id, w.device.SenderID) || bytes.Equal(id, w.device.RecipientID) {
			t.Errorf("recipient id %x is taken", id)
		}
	}
}

// TestRecipientIDIsDrawnAgain lets the random source offer the client's own id first.
func TestRecipientIDIsDrawnAgain(t *testing.T) {
	w := newWorld(t, provision.ShapeEncrypt0, provision.ClockSynced)
	w.stop()
	w.start()
	random := bytes.NewReader([]byte("nonce2..\x07\x07\x07\x08"))
	server, err := resource.New(resource.Config{Device: w.device, Store: w.store, Clock: w.clock, Rand: random}, resource.Options{})
	if err != nil {
		t.Fatal(err)
	}
	in := upload(w.seal(w.claims()))
	in.ClientRecipientID = []byte{7, 7}
	answer, err := server.Accept(context.Background(), in, resource.Origin{})
	if err != nil || !bytes.Equal(answer.ServerRecipientID, []byte{7, 8}) || string(answer.Nonce2) != "nonce2.." {
		t.Errorf("got %q %x, %v", answer.Nonce2, answer.ServerRecipientID, err)
	}
}

func TestCNonceIsGoodOnceAndForFiveMinutes(t *testing.T) {
	w := newWorld(t, provision.ShapeEncrypt0, provision.ClockSynced)
	w.device.RequireCNonce = true
	w.start()
	with := func(nonce []byte) error {
		c := w.claims()
		c.CNonce = nonce
		_, err := w.accept(upload(w.seal(c)))
		return err
	}
	nonce := w.nonce()
	if err := with(nonce); err != nil {
		t.Fatal(err)
	}
	refused(t, with(nonce), codes.Unauthorized, resource.ErrNoCNonce)
	refused(t, with([]byte{}), codes.Unauthorized, resource.ErrNoCNonce)

	nonce = w.nonce()
	w.pass(resource.NonceLifetime)
	if err := with(nonce); err != nil {
		t.Errorf("after exactly five minutes: %v", err)
	}
	nonce = w.nonce()
	w.pass(resource.NonceLifetime + time.Second)
	refused(t, with(nonce), codes.Unauthorized, resource.ErrNoCNonce)

	nonce = w.nonce()
	w.start()
	refused(t, with(nonce), codes.Unauthorized, resource.ErrNoCNonce)

	nonce = w.nonce()
	nonce[0] ^= 1
	refused(t, with(nonce), codes.Unauthorized, resource.ErrNoCNonce)
}

func TestServerUploadNeedsNoCNonce(t *testing.T) {
	w := newWorld(t, provision.ShapeEncrypt0, provision.ClockSynced)
	w.device.RequireCNonce = true
	w.start()
	w.session(upload(w.seal(w.claims())), resource.Origin{Server: true})
}

func TestMalformedConfirmations(t *testing.T) {
	key := w16()
	for name, m := range map[string]pop.InputMaterial{
		"id context":   {ID: []byte{1}, MasterSecret: key, ContextID: []byte{1}},
		"another kdf":  {ID: []byte{1}, MasterSecret: key, HKDF: 7},
		"another aead": {ID: []byte{1}, MasterSecret: key, Algorithm: 12},
		"version 2":    {ID: []byte{1}, MasterSecret: key, Version: 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, provision.ShapeEncrypt0, provision.ClockSynced)
			c := w.claims()
			c.Confirmation = pop.Confirmation{OSCORE: &m}
			_, err := w.accept(upload(w.seal(c)))
			refused(t, err, codes.BadRequest, resource.ErrBadConfirmation)
		})
	}
	t.Run("kid of an earlier token", func(t *testing.T) {
		w := newWorld(t, provision.ShapeEncrypt0, provision.ClockSynced)
		c := w.claims()
		c.Confirmation = pop.Confirmation{KeyID: []byte{1}}
		_, err := w.accept(upload(w.seal(c)))
		refused(t, err, codes.BadRequest, resource.ErrBadConfirmation)
	})
}

func w16() []byte {
	key := make([]byte, 16)
	_, _ = rand.Read(key)
	return key
}

// slots is a device whose slots are looked at.
type slots struct {
	*world
	claims *pop.Claims
	token  []byte
}

func newSlots(t *testing.T) slots {
	w := newWorld(t, provision.ShapeEncrypt0, provision.ClockSynced)
	c := w.claims()
	return slots{w, c, w.seal(c)}
}

func (s slots) alive(answer ace.AuthzInfoAnswer) bool {
	_, ok := s.server.Session(answer.ServerRecipientID)
	return ok
}

func (s slots) send(in ace.AuthzInfo, o resource.Origin) ace.AuthzInfoAnswer {
	s.t.Helper()
	answer, err := s.server.Accept(context.Background(), in, o)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer
}

func (s slots) use(a ace.AuthzInfoAnswer) {
	s.t.Helper()
	if d := s.ask(s.find(a), codes.GET, "/door"); !d.Allowed() {
		s.t.Fatal(d.Reason)
	}
}

func (s slots) fresh() ace.AuthzInfo { return upload(s.seal(s.world.claims())) }

var phone = resource.Origin{}

// TestSlotsOfTheServer is D18: what an upload over the server's channel displaces.
func TestSlotsOfTheServer(t *testing.T) {
	t.Run("the same server upload gets the same answer until it is used", func(t *testing.T) {
		s := newSlots(t)
		in := upload(s.token)
		first := s.send(in, channel)
		s.start()
		again := s.send(in, channel)
		if !bytes.Equal(first.Nonce2, again.Nonce2) || !bytes.Equal(first.ServerRecipientID, again.ServerRecipientID) {
			t.Errorf("got %x, want %x", again.Nonce2, first.Nonce2)
		}
		s.use(first)
		late := s.send(in, channel)
		if bytes.Equal(late.Nonce2, first.Nonce2) {
			t.Error("a used context was handed out again")
		}
		if !s.alive(first) {
			t.Error("a late retry has killed the context in use")
		}
	})
	t.Run("a newer server upload replaces at once", func(t *testing.T) {
		s := newSlots(t)
		first := s.send(upload(s.token), channel)
		s.use(first)
		newer := s.world.claims()
		newer.Confirmation = s.claims.Confirmation
		second := s.send(upload(s.seal(newer)), channel)
		if s.alive(first) || !s.alive(second) {
			t.Error("the newer token must stand alone")
		}
		_, err := s.accept(upload(s.token))
		refused(t, err, codes.Unauthorized, resource.ErrSuperseded)
	})
	t.Run("no room without an unconfirmed one to go", func(t *testing.T) {
		s := newSlots(t)
		for range resource.MaxSessions {
			s.send(s.fresh(), channel)
		}
		_, err := s.accept(s.fresh())
		refused(t, err, codes.ServiceUnavailable, resource.ErrNoRoom)
	})
}

// TestSlotsOfStrangers is D18: what an upload displaces that anyone could have replayed.
func TestSlotsOfStrangers(t *testing.T) {
	t.Run("a phone's repost leaves the server's context until it is used", func(t *testing.T) {
		s := newSlots(t)
		first, second, third := s.send(upload(s.token), channel), s.send(upload(s.token), phone), s.send(upload(s.token), phone)
		if !s.alive(first) || s.alive(second) || !s.alive(third) {
			t.Error("one unconfirmed slot per key, next to the first")
		}
		s.use(third)
		if s.alive(first) || !s.alive(third) {
			t.Error("the used slot must replace the first")
		}
	})
	t.Run("a replayed upload does not disturb the context in use", func(t *testing.T) {
		s := newSlots(t)
		first := s.send(upload(s.token), phone)
		s.use(first)
		for range 20 {
			s.send(upload(s.token), phone)
		}
		s.use(first)
	})
	t.Run("eight unconfirmed in all, oldest first", func(t *testing.T) {
		s := newSlots(t)
		used := s.send(upload(s.token), phone)
		s.use(used)
		pushed := s.send(s.fresh(), channel)
		var unconfirmed []ace.AuthzInfoAnswer
		for range resource.MaxUnconfirmed + 1 {
			unconfirmed = append(unconfirmed, s.send(s.fresh(), phone))
		}
		if s.alive(unconfirmed[0]) || !s.alive(unconfirmed[1]) || !s.alive(used) || !s.alive(pushed) {
			t.Error("the oldest unconfirmed must go and nothing else")
		}
	})
}

func TestEpoch(t *testing.T) {
	w := newWorld(t, provision.ShapeEncrypt0, provision.ClockSynced)
	day := uint64(24 * 60 * 60)
	at := func(epoch uint64) *pop.Claims {
		c := w.claims()
		c.Grant.Epoch = epoch
		return c
	}
	old := w.enter(at(100 * day))
	w.enter(at(110 * day))
	decided(t, w.ask(old, codes.GET, "/door"), codes.Unauthorized, resource.ErrNoSession)
	_, err := w.accept(upload(w.seal(at(110*day - 1))))
	refused(t, err, codes.Unauthorized, resource.ErrOldEpoch)
	w.start()
	_, err = w.accept(upload(w.seal(at(110*day - 1))))
	refused(t, err, codes.Unauthorized, resource.ErrOldEpoch)

	far := at(141 * day)
	_, err = w.accept(upload(w.seal(far)))
	refused(t, err, codes.Unauthorized, resource.ErrStep)
	if !w.server.NonceWanted() {
		t.Error("the phone must be offered a nonce, the only cure without a network")
	}
	far = at(141 * day)
	far.CNonce = w.nonce()
	w.enter(far)
	if w.server.NonceWanted() || w.server.Standing().Epoch != 141*day {
		t.Errorf("got %+v", w.server.Standing())
	}
	w.session(upload(w.seal(at(1000*day))), resource.Origin{Server: true})
	// A token without the claim is of epoch zero.
	none := w.claims()
	none.Grant = nil
	_, err = w.accept(upload(w.seal(none)))
	refused(t, err, codes.Unauthorized, resource.ErrOldEpoch)
}
