package resource_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/resource"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

func lock(t testing.TB) *world {
	return newWorld(t, provision.ShapeEncrypt0, provision.ClockSynced)
}

func TestRightsDecideTheAnswer(t *testing.T) {
	w := lock(t)
	s := w.enter(w.claims())
	tests := []struct {
		name   string
		code   codes.Code
		path   string
		want   codes.Code
		reason error
	}{
		{"a granted read", codes.GET, "/door", codes.Empty, nil},
		{"a granted change in a context that is new", codes.POST, "/door/unlock", codes.Empty, nil},
		{"another method of a granted path", codes.POST, "/door", codes.MethodNotAllowed, resource.ErrMethod},
		{"a read of what may be changed", codes.GET, "/door/unlock", codes.MethodNotAllowed, resource.ErrMethod},
		{"a code that is no method", codes.Content, "/door", codes.MethodNotAllowed, resource.ErrMethod},
		{"another action of the device", codes.POST, "/alarm/disarm", codes.Forbidden, resource.ErrPathNotCovered},
		{"a path the device does not have", codes.GET, "/secret", codes.Forbidden, resource.ErrPathNotCovered},
		{"a closing slash", codes.GET, "/door/", codes.Forbidden, resource.ErrPathNotCovered},
		{"a query that the right does not name", codes.GET, "/door?all", codes.Forbidden, resource.ErrPathNotCovered},
		{"no path", codes.GET, "", codes.Forbidden, resource.ErrPathNotCovered},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { decided(t, w.ask(s, tt.code, tt.path), tt.want, tt.reason) })
	}
}

func TestActuationMustBeFresh(t *testing.T) {
	w := lock(t)
	s := w.enter(w.claims())
	ask := func(s *resource.Session, fresh bool) resource.Decision {
		return w.server.Decide(context.Background(), resource.Request{Session: s, Code: codes.POST, Path: "/door/unlock", Fresh: fresh})
	}
	w.pass(resource.FreshFor)
	decided(t, ask(s, false), codes.Empty, nil)
	w.pass(time.Nanosecond)
	d := ask(s, false)
	decided(t, d, codes.Unauthorized, resource.ErrNotFresh)
	if !d.Challenge {
		t.Error("the client must get an Echo")
	}
	decided(t, ask(s, true), codes.Empty, nil)
	decided(t, w.ask(s, codes.GET, "/door"), codes.Empty, nil) // reading needs no proof

	kid := []byte(s.Context().RecipientID())
	w.start()
	s, ok := w.server.Session(kid)
	if !ok {
		t.Fatal("the session did not survive the restart")
	}
	if !s.Context().WindowLost() {
		t.Error("the replay window cannot have survived")
	}
	decided(t, ask(s, false), codes.Unauthorized, resource.ErrNotFresh)
}

// once gives claims whose unlock may be used once; view has no bound.
func (w *world) once(grant pop.GrantID) *pop.Claims {
	c := w.claims()
	c.Grant.Grant, c.Grant.Once = grant, []uint{unlockIndex}
	return c
}

func TestOnceMeansOncePerGrant(t *testing.T) {
	w := lock(t)
	grant := pop.GrantID{1}
	mother, father := w.enter(w.once(grant)), w.enter(w.once(grant)) // two tokens, two phones
	d, answer := w.press(mother)
	decided(t, d, codes.Empty, nil)
	if answer.Code != codes.Changed || w.opened != 1 {
		t.Fatalf("got %v, opened %d times", answer.Code, w.opened)
	}
	for _, s := range []*resource.Session{mother, father} {
		d, answer := w.press(s)
		decided(t, d, codes.Forbidden, resource.ErrUsed)
		if answer.Code != codes.Forbidden {
			t.Errorf("got %v, want 4.03", answer.Code)
		}
		decided(t, w.ask(s, codes.GET, "/door"), codes.Empty, nil) // other actions go on
	}
	w.start()
	w.clock.powerCut()
	w.start()
	w.learn()
	d, _ = w.press(w.enter(w.once(grant))) // a third token, after two restarts
	decided(t, d, codes.Forbidden, resource.ErrUsed)
	d, _ = w.press(w.enter(w.once(pop.GrantID{2})))
	decided(t, d, codes.Empty, nil)
	if w.opened != 2 {
		t.Errorf("opened %d times, want 2: once for each grant", w.opened)
	}
}

func TestSimultaneousRequestsUnlockOnce(t *testing.T) {
	w := lock(t)
	var opened atomic.Int32
	w.unlock = func(context.Context, resource.Call) (resource.Answer, error) {
		opened.Add(1)
		return resource.Answer{}, nil
	}
	for round := range 10 {
		grant := pop.GrantID{byte(round)}
		sessions := []*resource.Session{w.enter(w.once(grant)), w.enter(w.once(grant))}
		opened.Store(0)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() { w.press(sessions[i%2]) })
		}
		wg.Wait()
		if got := opened.Load(); got != 1 {
			t.Fatalf("opened %d times, want 1", got)
		}
	}
}

// TestPowerCutBetweenMarkAndAct: the mark is made before the bolt moves, so a cut in between loses the use, never the bound.
func TestPowerCutBetweenMarkAndAct(t *testing.T) {
	w := lock(t)
	grant := pop.GrantID{1}
	s := w.enter(w.once(grant))
	d := w.server.Decide(context.Background(), resource.Request{Session: s, Code: codes.POST, Path: "/door/unlock", Fresh: true})
	decided(t, d, codes.Empty, nil)
	w.start() // and Act never came
	again, _ := w.press(w.enter(w.once(grant)))
	decided(t, again, codes.Forbidden, resource.ErrUsed)
	entries, err := w.server.Log(0)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Action == "unlock" && e.Result == resource.Unknown && e.Grant == grant {
			return
		}
	}
	t.Errorf("got %+v, want an unlock of unknown outcome", entries)
}

func TestNothingLeftDropsTheKey(t *testing.T) {
	w := lock(t)
	c := w.once(pop.GrantID{1})
	c.Scope, c.Grant.Once = c.Scope[unlockIndex:], []uint{0}
	token := w.seal(c)
	s := w.session(upload(token), resource.Origin{})
	kid := []byte(s.Context().RecipientID())
	w.press(s)
	state, err := w.store.Load()
	if err != nil || len(state.Sessions) != 0 {
		t.Fatalf("the key is still stored: %d sessions, %v", len(state.Sessions), err)
	}
	w.pass(resource.Linger - time.Second)
	if s, ok := w.server.Session(kid); !ok {
		t.Error("the client cannot learn what became of its request")
	} else {
		d, _ := w.press(s)
		decided(t, d, codes.Forbidden, resource.ErrUsed)
	}
	w.pass(time.Second)
	if _, ok := w.server.Session(kid); ok {
		t.Error("the context is still there")
	}
	_, err = w.accept(upload(token))
	refused(t, err, codes.Forbidden, resource.ErrUsed)
	if w.opened != 1 {
		t.Errorf("opened %d times", w.opened)
	}
}

// TestOnceCoversEveryChangingMethod: a use belongs to the action (D14), so that a second method is no second use.
func TestOnceCoversEveryChangingMethod(t *testing.T) {
	w := lock(t)
	w.device.Actions = append(w.device.Actions, provision.Action{Name: "dose", Path: "/dose", Methods: aif.POST | aif.PUT})
	w.start()
	w.handle("dose", func(context.Context, resource.Call) (resource.Answer, error) { return resource.Answer{}, nil })
	c := w.claims()
	c.Scope, c.Grant.Once = aif.New(aif.Entry{Path: "/dose", Methods: aif.POST | aif.PUT}), []uint{0}
	token := w.seal(c)
	s := w.session(upload(token), resource.Origin{})
	decided(t, w.ask(s, codes.POST, "/dose"), codes.Empty, nil)
	for _, method := range []codes.Code{codes.POST, codes.PUT} {
		decided(t, w.ask(s, method, "/dose"), codes.Forbidden, resource.ErrUsed)
	}
	_, err := w.accept(upload(token))
	refused(t, err, codes.Forbidden, resource.ErrUsed)
}

func TestUnknownOutcomeIsSaid(t *testing.T) {
	w := lock(t)
	w.unlock = func(context.Context, resource.Call) (resource.Answer, error) {
		return resource.Answer{}, errors.New("no answer from the motor")
	}
	s := w.enter(w.once(pop.GrantID{1}))
	_, answer := w.press(s)
	if answer.Code != codes.InternalServerError || string(answer.Payload) != "unknown – check the door" {
		t.Errorf("got %v %q", answer.Code, answer.Payload)
	}
	if last := w.log[len(w.log)-1]; last.Result != resource.Unknown || last.Action != "unlock" || last.Reason != "no answer from the motor" {
		t.Errorf("got %+v", last)
	}
	d, _ := w.press(s)
	decided(t, d, codes.Forbidden, resource.ErrUsed) // it may have happened, so it is spent
}

func TestActionRunsOncePerDecision(t *testing.T) {
	w := lock(t)
	s := w.enter(w.claims())
	d, first := w.press(s)
	second := w.server.Act(context.Background(), d, resource.Call{})
	if first.Code != codes.Changed || second.Code != codes.InternalServerError || w.opened != 1 {
		t.Errorf("got %v and %v, opened %d times", first.Code, second.Code, w.opened)
	}
}

func TestActionWithoutAPartSpendsNothing(t *testing.T) {
	w := lock(t)
	w.device.Actions = append(w.device.Actions, provision.Action{Name: "ring", Path: "/ring", Methods: aif.POST})
	w.start()
	c := w.claims()
	c.Scope, c.Grant.Once = aif.New(aif.Entry{Path: "/ring", Methods: aif.POST}), []uint{0}
	s := w.enter(c)
	decided(t, w.ask(s, codes.POST, "/ring"), codes.NotImplemented, resource.ErrNoAction)
	if err := w.server.Handle("sing", nil); err == nil {
		t.Error("an action that is not in the record was taken")
	}
	w.handle("ring", func(context.Context, resource.Call) (resource.Answer, error) { return resource.Answer{}, nil })
	decided(t, w.ask(s, codes.POST, "/ring"), codes.Empty, nil)
}

// brokenStore fails to save when told to.
type brokenStore struct {
	resource.Store
	broken bool
}

var errFull = errors.New("no space left on device")

func (b *brokenStore) Save(s resource.State) error {
	if b.broken {
		return errFull
	}
	return b.Store.Save(s)
}

func TestNothingMovesThatCannotBeStored(t *testing.T) {
	w := lock(t)
	store := &brokenStore{Store: w.store}
	server, err := resource.New(resource.Config{Device: w.device, Store: store, Clock: w.clock}, resource.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w.server = server
	w.handle("unlock", w.unlock)
	w.learn()
	s := w.enter(w.once(pop.GrantID{1}))
	token := upload(w.seal(w.claims()))
	store.broken = true
	d, answer := w.press(s)
	decided(t, d, codes.ServiceUnavailable, resource.ErrStore)
	if answer.Code != codes.ServiceUnavailable || w.opened != 0 {
		t.Errorf("got %v, opened %d times", answer.Code, w.opened)
	}
	_, err = w.accept(token)
	refused(t, err, codes.InternalServerError, resource.ErrStore)
	w.clock.pass(2 * time.Hour) // the token expires, and even that cannot be written down
	d, _ = w.press(s)
	decided(t, d, codes.InternalServerError, resource.ErrStore)
	w.clock.uptime -= 2 * time.Hour
	store.broken = false
	d, _ = w.press(s)
	decided(t, d, codes.Empty, nil)
	if _, err := w.accept(token); err != nil {
		t.Error(err)
	}
}

// TestSpentMarksAreNotLostForSpace: when every mark may still be needed, nothing more is spent.
func TestSpentMarksAreNotLostForSpace(t *testing.T) {
	w := lock(t)
	fill := func(expires time.Time) {
		w.edit(func(s *resource.State) {
			s.Spent = nil
			for i := range resource.MaxSpent {
				s.Spent = append(s.Spent, resource.Spent{Grant: pop.GrantID{byte(i), byte(i >> 8), 1}, Path: "/door/unlock", Methods: aif.POST, Expires: expires})
			}
		})
	}
	fill(w.now.Add(time.Hour))
	d, _ := w.press(w.enter(w.once(pop.GrantID{0xff})))
	decided(t, d, codes.ServiceUnavailable, resource.ErrNoRoom)
	fill(w.now.Add(-time.Hour))
	d, _ = w.press(w.enter(w.once(pop.GrantID{0xff})))
	decided(t, d, codes.Empty, nil)
	state, err := w.store.Load()
	if err != nil || len(state.Spent) != resource.MaxSpent {
		t.Errorf("got %d marks, %v, want %d: one made room", len(state.Spent), err, resource.MaxSpent)
	}
}

func TestSenderNumbersAreNeverReused(t *testing.T) {
	w := lock(t)
	s := w.enter(w.claims())
	kid := []byte(s.Context().RecipientID())
	seen := map[string]bool{}
	for range 5 {
		for range 3 {
			piv := ownNumber(t, s)
			if seen[piv] {
				t.Fatalf("number %x was used twice", piv)
			}
			seen[piv] = true
		}
		w.start()
		var ok bool
		if s, ok = w.server.Session(kid); !ok {
			t.Fatal("the session is gone")
		}
	}
}

func TestLogKeepsWhatMoved(t *testing.T) {
	w := lock(t)
	s := w.enter(w.claims())
	w.press(s)
	for range 2 * resource.MaxLog {
		w.ask(s, codes.POST, "/alarm/disarm")
	}
	var all []resource.Entry
	for after := uint64(0); ; {
		entries, err := w.server.Log(after)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) > resource.MaxLogBatch {
			t.Fatalf("%d entries at once", len(entries))
		}
		if len(entries) == 0 {
			break
		}
		all = append(all, entries...)
		after = entries[len(entries)-1].Number
	}
	if len(all) > resource.MaxLog || all[0].Action != "unlock" || all[0].Result != resource.Done || all[0].Time.IsZero() {
		t.Errorf("the unlock was pushed out: %d entries, the first %+v", len(all), all[0])
	}
	before := all[len(all)-1].Number
	w.start()
	w.ask(w.enter(w.claims()), codes.POST, "/alarm/disarm")
	entries, err := w.server.Log(before)
	if err != nil || len(entries) == 0 || entries[0].Number <= before {
		t.Errorf("got %+v, %v: a number was given twice", entries, err)
	}
}

func TestLogWaitsForTheActionThatGoesOn(t *testing.T) {
	w := lock(t)
	s := w.enter(w.claims())
	begun, end := make(chan struct{}), make(chan struct{})
	w.unlock = func(context.Context, resource.Call) (resource.Answer, error) {
		close(begun)
		<-end
		return resource.Answer{}, nil
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.press(s)
	}()
	<-begun
	entries, err := w.server.Log(1) // 1 is the acceptance
	if err != nil || len(entries) != 0 {
		t.Errorf("got %+v, %v, want nothing before the outcome is known", entries, err)
	}
	close(end)
	<-done
	if entries, err = w.server.Log(1); err != nil || len(entries) != 1 || entries[0].Result != resource.Done {
		t.Errorf("got %+v, %v", entries, err)
	}
}

func BenchmarkUnlock(b *testing.B) {
	w := lock(b)
	s := w.enter(w.claims())
	for b.Loop() {
		if d, _ := w.press(s); !d.Allowed() {
			b.Fatal(d.Reason)
		}
	}
}
