package authz_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/ace"
)

// redeemed is a world in which mother's phone has redeemed a code, and another one beside it.
func redeemed(t *testing.T) (w *world, code string, stolen, other authz.TokenRecord) {
	t.Helper()
	w = newWorld(t)
	w.give(nil, unlock)
	code = w.code()
	w.granted(w.phone, redemption(code))
	w.granted(w.phone, redemption(w.code()))
	for _, token := range w.tokens(1) {
		if bytes.Equal(token.Code, hashOf(code)) {
			stolen = token
		} else {
			other = token
		}
	}
	if stolen.ID == nil || other.ID == nil {
		t.Fatal("two tokens were not kept")
	}
	return w, code, stolen, other
}

func (w *world) ended(token authz.TokenRecord) bool {
	w.t.Helper()
	now, err := w.store.Token(w.t.Context(), token.ID)
	w.must(err)
	return !now.Revoked.IsZero()
}

func (w *world) waiting(n byte) []authz.Message {
	w.t.Helper()
	list, err := w.store.Waiting(w.t.Context(), deviceID(n), w.clock.now())
	w.must(err)
	return list
}

// TestLateReplayEndsWhatTheCodeGave is D20: the token is over, on the revocation list, and in the device's outbox; what came
// from another code is not.
func TestLateReplayEndsWhatTheCodeGave(t *testing.T) {
	w, code, stolen, other := redeemed(t)
	w.clock.move(authz.ReplayGrace + time.Millisecond)
	_, err := w.token(w.phone, redemption(code))
	w.refused(err, ace.InvalidGrant, "late replay of a redeemed code")
	if !w.ended(stolen) || w.ended(other) {
		t.Errorf("ended: the code's token %v, another's %v", w.ended(stolen), w.ended(other))
	}
	rows := w.waiting(1)
	if len(rows) != 1 || len(rows[0].Hashes) != 1 || !bytes.Equal(rows[0].Hashes[0], stolen.Hash) {
		t.Errorf("waiting for the device: %+v", rows)
	}
	list, err := w.store.Revoked(t.Context(), authz.Requester{Client: "phone"})
	if err != nil || len(list.Full) != 1 || !bytes.Equal(list.Full[0], stolen.Hash) {
		t.Errorf("on the list: %x, %v", list.Full, err)
	}
	count := len(w.audit())
	_, err = w.token(w.phone, redemption(code))
	w.refused(err, ace.InvalidGrant, "late replay of a redeemed code")
	if len(w.waiting(1)) != 1 || len(w.audit()) != count+1 {
		t.Error("a second replay told the device again, or is not on record once")
	}
}

// TestReplayThatEndsNothing: within the grace, and late ones that are not right in everything.
func TestReplayThatEndsNothing(t *testing.T) {
	for _, tt := range []struct {
		name  string
		after time.Duration
		flaw  []flaw
	}{
		{"at once", 0, nil},
		{"at the end of the grace", authz.ReplayGrace, nil},
		{"late, by another client", time.Hour / 2, flaws[3:4]},
		{"late, with another redirect", time.Hour / 2, flaws[4:5]},
		{"late, with another verifier", time.Hour / 2, flaws[5:6]},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, code, stolen, _ := redeemed(t)
			w.clock.move(tt.after)
			a := attempt{caller: w.phone, in: redemption(code)}
			for _, f := range tt.flaw {
				f.make(w, &a)
			}
			if _, err := w.token(a.caller, a.in); err == nil {
				t.Error("granted")
			}
			if w.ended(stolen) || len(w.waiting(1)) != 0 {
				t.Error("the token of the right client has ended")
			}
		})
	}
}

// unending is a store that cannot end tokens.
type unending struct{ authz.Store }

func (unending) End(context.Context, authz.EndSpec, time.Time) ([]authz.TokenRecord, error) {
	return nil, errDiskFull
}

// TestReplayThatCannotBeActedUpon is a fault of the server, so that nobody takes the tokens for ended.
func TestReplayThatCannotBeActedUpon(t *testing.T) {
	w, code, _, _ := redeemed(t)
	w.clock.move(time.Hour / 2)
	whole := w.store
	w.store = unending{whole}
	w.serve(authz.Options{})
	w.store = whole
	if _, err := w.token(w.phone, redemption(code)); !errors.Is(err, errDiskFull) || errors.As(err, new(*ace.Error)) {
		t.Errorf("got %v", err)
	}
}
