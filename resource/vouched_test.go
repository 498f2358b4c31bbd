package resource_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/grade"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/resource"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

var errClone = errors.New("a clone")

// apps take the token "genuine" for the Echo "echo", and carelessly for none, and keep the time they were asked at.
type apps struct{ asked []time.Time }

func (a *apps) Genuine(token []byte, challenge string, now time.Time) error {
	a.asked = append(a.asked, now)
	if string(token) != "genuine" || challenge != "ZWNobw" && challenge != "" {
		return errClone
	}
	return nil
}

// vouchedLock wants to see for each unlock, and for each view, that the app is genuine.
func vouchedLock(t *testing.T, clock provision.Clock) (*world, *apps) {
	t.Helper()
	w, a := newWorld(t, provision.ShapeEncrypt0, clock), &apps{}
	w.options.Apps, w.options.Vouched = a, []string{"unlock", "view"}
	w.start()
	return w, a
}

func (w *world) call(s *resource.Session, code codes.Code, path string, change func(*resource.Request)) resource.Decision {
	r := resource.Request{Session: s, Code: code, Path: path, Fresh: true, Echo: []byte("echo"), Token: []byte("genuine")}
	if change != nil {
		change(&r)
	}
	return w.server.Decide(context.Background(), r)
}

// TestVouchedActionsWantAToken (D21): after the rights, before anything is used up, reading too; what comes without is asked for it.
func TestVouchedActionsWantAToken(t *testing.T) {
	w, _ := vouchedLock(t, provision.ClockSynced)
	s := w.enter(w.once(pop.GrantID{1}))
	for _, tt := range []struct {
		name   string
		change func(*resource.Request)
		reason error
	}{
		{"no token", func(r *resource.Request) { r.Token = nil }, resource.ErrNotGenuine},
		{"a clone's", func(r *resource.Request) { r.Token = []byte("stolen") }, errClone},
		{"the token of another Echo", func(r *resource.Request) { r.Echo = []byte("echp") }, errClone},
		{"no Echo", func(r *resource.Request) { r.Echo, r.Fresh = nil, false }, resource.ErrNotGenuine},
		{"fresh without one, as in a new association", func(r *resource.Request) { r.Echo = nil }, resource.ErrNotGenuine},
	} {
		for path, code := range map[string]codes.Code{"/door/unlock": codes.POST, "/door": codes.GET} {
			d := w.call(s, code, path, tt.change)
			decided(t, d, codes.Unauthorized, tt.reason)
			if !d.Challenge || !d.Wanted || d.Allowed() {
				t.Errorf("%s, %s: %+v", tt.name, path, d)
			}
		}
	}
	if w.opened != 0 {
		t.Fatal("the bolt moved")
	}
	decided(t, w.call(s, codes.POST, "/alarm/disarm", func(r *resource.Request) { r.Token = nil }), codes.Forbidden, resource.ErrPathNotCovered)
	decided(t, w.call(s, codes.POST, "/door", func(r *resource.Request) { r.Token = nil }), codes.MethodNotAllowed, resource.ErrMethod)
	decided(t, w.call(s, codes.GET, "/door", nil), codes.Empty, nil)

	d := w.call(s, codes.POST, "/door/unlock", nil)
	decided(t, d, codes.Empty, nil)
	if w.server.Act(context.Background(), d, resource.Call{Code: codes.POST, Path: "/door/unlock"}); w.opened != 1 {
		t.Errorf("opened %d times: the refusals must have left the use", w.opened)
	}
	decided(t, w.call(s, codes.POST, "/door/unlock", nil), codes.Forbidden, resource.ErrUsed)
}

// TestOtherActionsWantNone: an action that is not named stays as it was.
func TestOtherActionsWantNone(t *testing.T) {
	w, a := vouchedLock(t, provision.ClockSynced)
	w.options.Vouched = []string{"view"}
	w.start()
	s := w.enter(w.claims())
	d, _ := w.press(s)
	decided(t, d, codes.Empty, nil)
	if d.Wanted || len(a.asked) != 0 {
		t.Errorf("%+v, asked %d times", d, len(a.asked))
	}
}

// TestTimeOfAToken: where the device has no time, none is made up.
func TestTimeOfAToken(t *testing.T) {
	for _, clock := range []provision.Clock{provision.ClockSynced, provision.ClockNone} {
		w, a := vouchedLock(t, clock)
		decided(t, w.call(w.enter(w.claims()), codes.GET, "/door", nil), codes.Empty, nil)
		if len(a.asked) != 1 || a.asked[0].IsZero() != (clock == provision.ClockNone) {
			t.Errorf("%v: asked at %v", clock, a.asked)
		}
	}
}

func TestVouchedRulesAreWhole(t *testing.T) {
	w := lock(t)
	for name, o := range map[string]resource.Options{
		"nobody to judge":   {Vouched: []string{"unlock"}},
		"nothing to judge":  {Apps: &apps{}},
		"an unknown action": {Apps: &apps{}, Vouched: []string{"unlock", "unlok"}},
	} {
		if _, err := resource.New(resource.Config{Device: w.device, Store: w.store, Clock: w.clock}, o); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// TestActionsSeeTheGrade: what the server knew of the app goes with each call, after a restart too.
func TestActionsSeeTheGrade(t *testing.T) {
	w := lock(t)
	want := grade.Grade{Kind: grade.KeyAttestation, Key: grade.KeyHardware, System: grade.SystemVerified}
	c := w.claims()
	c.Grant.Grade = want
	graded, bare := w.enter(c), w.enter(w.claims())
	var got grade.Grade
	w.unlock = func(_ context.Context, call resource.Call) (resource.Answer, error) {
		got = call.Grade
		return resource.Answer{}, nil
	}
	if w.press(graded); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if w.press(bare); got != (grade.Grade{}) {
		t.Errorf("of an app for which nobody vouched: %v", got)
	}
	kid := []byte(graded.Context().RecipientID())
	w.start()
	again, ok := w.server.Session(kid)
	if !ok {
		t.Fatal("the session did not survive the restart")
	}
	if w.press(again); got != want {
		t.Errorf("after a restart: got %v, want %v", got, want)
	}
}
