package resource_test

import (
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/resource"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// TestBoundsByClock is D16: what a device may believe depends on how it knows the time.
func TestBoundsByClock(t *testing.T) {
	const none = time.Duration(0)
	tests := []struct {
		name    string
		clock   provision.Clock
		learnt  bool          // live, in this boot
		expires time.Duration // after the server's time; 0: no exp
		exi     time.Duration
		begins  time.Duration // nbf; 0: none
		want    error
	}{
		{"synced, time known, exp ahead", provision.ClockSynced, true, time.Second, none, none, nil},
		{"synced, time known, exp now", provision.ClockSynced, true, time.Nanosecond, none, none, resource.ErrExpired},
		{"synced, time unknown, exp ahead", provision.ClockSynced, false, time.Hour, none, none, resource.ErrTimeUnknown},
		{"synced, time unknown, exp passed", provision.ClockSynced, false, -time.Hour, none, none, resource.ErrExpired},
		{"synced, time unknown, exi", provision.ClockSynced, false, time.Hour, time.Hour, none, resource.ErrTimeUnknown},
		{"synced, no bound", provision.ClockSynced, true, none, none, none, resource.ErrNoBound},
		{"synced, begins later", provision.ClockSynced, true, time.Hour, none, time.Second, resource.ErrNotYetValid},
		{"synced, has begun", provision.ClockSynced, true, time.Hour, none, -time.Second, nil},
		{"relative, exp alone", provision.ClockRelative, true, time.Hour, none, none, resource.ErrNoBound},
		{"relative, exi", provision.ClockRelative, false, time.Hour, time.Minute, none, nil},
		{"relative, exi without exp", provision.ClockRelative, false, none, time.Minute, none, nil},
		{"relative, exi, exp passed", provision.ClockRelative, false, -time.Second, time.Minute, none, resource.ErrExpired},
		{"relative, begins later", provision.ClockRelative, false, time.Hour, time.Minute, time.Second, resource.ErrNotYetValid},
		{"none, exp alone", provision.ClockNone, false, time.Hour, none, none, resource.ErrNoBound},
		{"none, exi", provision.ClockNone, false, time.Hour, time.Minute, none, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, provision.ShapeEncrypt0, provision.ClockNone)
			w.device.Clock = tt.clock
			w.edit(func(s *resource.State) { s.Time.Low = w.now }) // an hour of this boot is on record
			if tt.learnt {
				w.learn()
			}
			c := w.claims()
			c.Expires, c.ExpiresIn, c.IssuedAt = time.Time{}, tt.exi, time.Time{}
			if tt.expires != 0 {
				c.Expires = w.now.Add(tt.expires)
			}
			if tt.begins != 0 {
				c.NotBefore = w.now.Add(tt.begins)
			}
			_, err := w.accept(upload(w.seal(c)))
			if tt.want == nil && err != nil {
				t.Errorf("got %v, want it accepted", err)
			} else if tt.want != nil {
				refused(t, err, codes.Unauthorized, tt.want)
			}
		})
	}
}

func TestTimeIsKnownUntilThePowerIsCut(t *testing.T) {
	w := newWorld(t, provision.ShapeEncrypt0, provision.ClockSynced)
	c := w.claims()
	in := upload(w.seal(c))
	answer, err := w.accept(in)
	if err != nil {
		t.Fatal(err)
	}
	w.pass(10 * time.Minute)
	w.start() // the program restarts, the device does not
	decided(t, w.ask(w.find(answer), codes.GET, "/door"), codes.Empty, nil)

	w.clock.powerCut()
	w.start()
	// The token may be over; that is not known, so nothing is done and nothing is forgotten.
	decided(t, w.ask(w.find(answer), codes.GET, "/door"), codes.Unauthorized, resource.ErrTimeUnknown)
	w.learn()
	decided(t, w.ask(w.find(answer), codes.GET, "/door"), codes.Empty, nil)

	w.pass(50*time.Minute - time.Second)
	decided(t, w.ask(w.find(answer), codes.GET, "/door"), codes.Empty, nil)
	w.pass(time.Second)
	if _, ok := w.server.Session(answer.ServerRecipientID); ok {
		t.Error("an expired session is still found")
	}
}

func TestExpiryIsSeenByARequestOnItsWay(t *testing.T) {
	w := newWorld(t, provision.ShapeEncrypt0, provision.ClockSynced)
	s := w.enter(w.claims())
	w.pass(time.Hour)
	d, _ := w.press(s)
	decided(t, d, codes.Unauthorized, resource.ErrNoSession)
	if w.opened != 0 {
		t.Error("the bolt moved")
	}
}

func TestExiCountsFromFirstAcceptance(t *testing.T) {
	for _, clock := range []provision.Clock{provision.ClockNone, provision.ClockRelative} {
		t.Run(clock.String(), func(t *testing.T) {
			w := newWorld(t, provision.ShapeSign1, clock)
			c := w.claims()
			token := w.seal(c)
			w.pass(3 * time.Hour) // held back: exi has not begun
			w.session(upload(token), resource.Origin{})
			w.pass(30 * time.Minute)
			w.session(upload(token), resource.Origin{}) // a repost continues the count
			w.pass(29 * time.Minute)
			w.start() // and so does a restart of the program
			s := w.session(upload(token), resource.Origin{})
			d, _ := w.press(s)
			decided(t, d, codes.Empty, nil)
			w.pass(time.Minute)
			d, _ = w.press(s)
			decided(t, d, codes.Unauthorized, resource.ErrNoSession)
			_, err := w.accept(upload(token))
			refused(t, err, codes.Unauthorized, resource.ErrReplayOfExpired)
		})
	}
}

// TestPowerCutEndsExi: how much of the time has passed in the dark nobody knows.
func TestPowerCutEndsExi(t *testing.T) {
	w := newWorld(t, provision.ShapeSign1, provision.ClockNone)
	first, second := w.claims(), w.claims()
	earlier, accepted := w.seal(first), w.seal(second)
	w.session(upload(accepted), resource.Origin{})
	w.pass(time.Second)
	w.clock.powerCut()
	w.start()
	for _, token := range [][]byte{earlier, accepted} {
		_, err := w.accept(upload(token))
		refused(t, err, codes.Unauthorized, resource.ErrReplayOfExpired)
	}
	w.session(upload(w.seal(w.claims())), resource.Origin{})
	if got := w.server.Standing().HighestExpired; got != 2 {
		t.Errorf("highest expired: got %d, want 2", got)
	}
}

// TestHighWaterMark: expire #5, then #4 and #5 are refused and #6 is not, with a restart in between.
func TestHighWaterMark(t *testing.T) {
	w := newWorld(t, provision.ShapeEncrypt0, provision.ClockRelative)
	token := map[int][]byte{}
	for n := 1; n <= 6; n++ {
		token[n] = w.seal(w.claims())
	}
	w.session(upload(token[5]), resource.Origin{})
	four := w.session(upload(token[4]), resource.Origin{})
	w.pass(time.Hour - time.Nanosecond)
	decided(t, w.ask(four, codes.GET, "/door"), codes.Empty, nil)
	w.pass(time.Nanosecond)
	w.start()
	for n, want := range map[int]error{4: resource.ErrReplayOfExpired, 5: resource.ErrReplayOfExpired, 6: nil} {
		_, err := w.accept(upload(token[n]))
		if want == nil && err != nil {
			t.Errorf("#%d: got %v, want it accepted", n, err)
		} else if want != nil {
			refused(t, err, codes.Unauthorized, want)
		}
	}
}

// TestExiSurvivesEviction: pushing a session out of its slot must not start its time anew.
func TestExiSurvivesEviction(t *testing.T) {
	w := newWorld(t, provision.ShapeEncrypt0, provision.ClockNone)
	token := w.seal(w.claims())
	w.session(upload(token), resource.Origin{})
	w.pass(59 * time.Minute)
	for range resource.MaxUnconfirmed {
		w.session(upload(w.seal(w.claims())), resource.Origin{})
	}
	w.session(upload(token), resource.Origin{})
	w.pass(time.Minute)
	_, err := w.accept(upload(token))
	refused(t, err, codes.Unauthorized, resource.ErrReplayOfExpired)
}

func TestTooManyCountsExpireTheLowest(t *testing.T) {
	w := newWorld(t, provision.ShapeEncrypt0, provision.ClockNone)
	first := w.seal(w.claims())
	w.session(upload(first), resource.Origin{})
	for range resource.MaxCounts {
		w.session(upload(w.seal(w.claims())), resource.Origin{})
	}
	_, err := w.accept(upload(first))
	refused(t, err, codes.Unauthorized, resource.ErrReplayOfExpired)
}

func TestLowerBoundOfTimeSurvives(t *testing.T) {
	w := newWorld(t, provision.ShapeEncrypt0, provision.ClockNone)
	expiring := func(d time.Duration) error {
		c := w.claims()
		c.IssuedAt, c.Expires = time.Time{}, w.now.Add(d)
		_, err := w.accept(upload(w.seal(c)))
		return err
	}
	iat := w.claims()
	w.session(upload(w.seal(iat)), resource.Origin{}) // its iat is a time that is signed
	refused(t, expiring(-time.Nanosecond), codes.Unauthorized, resource.ErrExpired)
	w.pass(resource.SaveTimeEvery)
	if err := w.server.Sweep(); err != nil {
		t.Fatal(err)
	}
	w.clock.powerCut()
	w.start()
	refused(t, expiring(-time.Nanosecond), codes.Unauthorized, resource.ErrExpired)
	if err := expiring(time.Second); err != nil {
		t.Errorf("one second ahead: %v", err)
	}
}

func TestStepOfTimeNeedsALiveServer(t *testing.T) {
	issued := func(w *world, at time.Time) *pop.Claims {
		c := w.claims()
		c.IssuedAt, c.Expires = at, at.Add(48*time.Hour)
		return c
	}
	tests := []struct {
		name   string
		step   time.Duration
		origin resource.Origin
		moved  bool
	}{
		{"a token thirty days ahead", resource.MaxStep, resource.Origin{}, true},
		{"a token more than thirty days ahead", resource.MaxStep + time.Second, resource.Origin{}, false},
		{"the same over the server's channel", resource.MaxStep + time.Second, resource.Origin{Server: true}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, provision.ShapeEncrypt0, provision.ClockNone)
			w.session(upload(w.seal(issued(w, start))), resource.Origin{})
			w.session(upload(w.seal(issued(w, start.Add(tt.step)))), tt.origin)
			state, err := w.store.Load()
			if err != nil {
				t.Fatal(err)
			}
			if moved := !state.Time.Low.Before(start.Add(tt.step)); moved != tt.moved {
				t.Errorf("the time moved to %v: got %v, want %v", state.Time.Low, moved, tt.moved)
			}
		})
	}
}

func TestTimeNeverRunsBackwards(t *testing.T) {
	w := newWorld(t, provision.ShapeEncrypt0, provision.ClockSynced)
	if err := w.server.LearnTime(w.now.Add(-30 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	c := w.claims()
	c.Expires = w.now
	_, err := w.accept(upload(w.seal(c)))
	refused(t, err, codes.Unauthorized, resource.ErrExpired)
}

func TestTimeOfTokensAloneIsNotKnowledge(t *testing.T) {
	w := newWorld(t, provision.ShapeEncrypt0, provision.ClockSynced)
	w.clock.powerCut()
	w.start()
	_, err := w.accept(upload(w.seal(w.claims())))
	refused(t, err, codes.Unauthorized, resource.ErrTimeUnknown)
}
