package authz_test

import (
	"errors"
	"testing"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// TestSuspendAndResume: each party stops what it has a part in, is on record with the reason, and lets it go on.
func TestSuspendAndResume(t *testing.T) {
	for name, tt := range map[string]struct {
		party func(g authz.Grant) authz.Party
		event string
		what  string
	}{
		"client": {func(authz.Grant) authz.Party { return authz.Party{Client: "phone"} }, "client", "client"},
		"guest":  {func(authz.Grant) authz.Party { return authz.Party{User: "mother"} }, "user", "user"},
		"owner":  {func(authz.Grant) authz.Party { return authz.Party{User: "alice"} }, "user", "owner"},
		"device": {func(authz.Grant) authz.Party { return authz.Party{Device: deviceID(1)} }, "device", "device"},
		"grant":  {func(g authz.Grant) authz.Party { return authz.Party{Grant: g.ID} }, "grant", "grant"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			g := w.give(nil, unlock)
			code := w.code()
			p := tt.party(g)
			w.must(w.server.Suspend(t.Context(), p, "a lost phone"))
			last := w.audit()[len(w.audit())-1]
			want := authz.AuditEntry{At: w.clock.now(), Event: tt.event + ".suspend", Result: "granted", Reason: "a lost phone", Client: p.Client, User: p.User, Grant: p.Grant}
			if p.Device != (provision.DeviceID{}) {
				want.Device = audience(1)
			}
			if last != want {
				t.Errorf("got %+v\nwant %+v", last, want)
			}
			_, err := w.token(w.phone, redemption(code))
			w.refused(err, ace.InvalidScope, (&authz.SuspendedError{What: tt.what}).Error())
			w.must(w.server.Resume(t.Context(), p, "found again"))
			if last := w.audit()[len(w.audit())-1]; last.Event != tt.event+".resume" || last.Reason != "found again" {
				t.Errorf("on record is %+v", last)
			}
			w.granted(w.phone, redemption(code)) // nothing was spent
		})
	}
}

// TestPartyIsOne: a mistake in naming is no suspension.
func TestPartyIsOne(t *testing.T) {
	w := newWorld(t)
	for _, p := range []authz.Party{{}, {Client: "phone", User: "alice"}, {Device: deviceID(1), Grant: pop.GrantID{1}}} {
		if err := w.server.Suspend(t.Context(), p, ""); err == nil {
			t.Errorf("%+v was suspended", p)
		}
	}
	for _, p := range []authz.Party{{Client: "none"}, {User: "none"}, {Device: deviceID(9)}, {Grant: pop.GrantID{9}}} {
		if err := w.server.Suspend(t.Context(), p, ""); !errors.Is(err, authz.ErrNotFound) {
			t.Errorf("%+v: got %v", p, err)
		}
	}
	if len(w.audit()) != 0 {
		t.Errorf("on record is %+v", w.audit())
	}
}

// TestEndTokens ends what a party has, and says how much that was.
func TestEndTokens(t *testing.T) {
	w := newWorld(t)
	w.give(nil, unlock)
	w.give(toGateway, view)
	w.granted(w.phone, redemption(w.code()))
	w.granted(w.gateway, own(1))
	for i, want := range []int{1, 0} {
		if n, err := w.server.EndTokens(t.Context(), authz.Party{User: "mother"}); n != want || err != nil {
			t.Errorf("time %d: got %d, %v, want %d", i, n, err, want)
		}
	}
	if e := w.audit()[len(w.audit())-1]; e.Event != "user.end" || e.User != "mother" || e.Result != "granted" {
		t.Errorf("on record is %+v", e)
	}
	if left := w.tokens(1); len(left) != 1 || left[0].Client != "gateway" {
		t.Errorf("got %+v", left)
	}
}
