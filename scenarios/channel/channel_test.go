package channel_test

import (
	"bytes"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/delivery"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

var unlock = coapsec.NewRequest(codes.POST, "/door/unlock", coapsec.NoFormat, nil)

func (h *house) wants(key coapsec.Exchanger, want codes.Code) {
	h.t.Helper()
	answer, err := key.Exchange(h.t.Context(), unlock)
	if err != nil || answer.Code != want {
		h.t.Fatalf("unlock: got %v, %v, want %v", answer.Code, err, want)
	}
}

// TestOnceIsOnceAtTheServerToo: the lock opens once; when the server has read its log, no more tokens for that.
func TestOnceIsOnceAtTheServerToo(t *testing.T) {
	h := newHouse(t)
	h.lock.register()
	g := h.give(true, "unlock", "view")
	key := h.key("unlock view")
	h.wants(key, codes.Changed)
	h.wants(key, codes.Forbidden)
	if n := h.lock.opened.Load(); n != 1 {
		t.Fatalf("the bolt moved %d times", n)
	}
	h.lock.register()
	unlocked, _ := h.record.ParseRights([]string{"unlock"})
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		kept, err := h.store.Grant(t.Context(), g.ID)
		if err != nil {
			t.Fatal(err)
		}
		if kept.Spent.Equal(unlocked) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("spent: %v, want %v", kept.Spent, unlocked)
		}
	}
	var refused *ace.Error
	if _, _, err := h.ask("unlock"); !errors.As(err, &refused) || refused.Code != ace.InvalidScope {
		t.Errorf("another token to unlock: got %v, want %v", err, ace.InvalidScope)
	}
	h.key("view")
}

// TestRepeatedUploadFindsWhatIsThere: the same answer, as long as nobody has used the key (D18), also from a server that
// has started anew meanwhile.
func TestRepeatedUploadFindsWhatIsThere(t *testing.T) {
	h := newHouse(t)
	h.lock.register()
	h.give(false, "unlock")
	h.server.SetDeliverer(nil)
	in, out, err := h.ask("unlock")
	if err != nil || out.TokenUpload != nil {
		t.Fatalf("got %v, %v", out, err)
	}
	in.Token = out.AccessToken
	payload, err := in.Encode()
	if err != nil {
		t.Fatal(err)
	}
	first, err := h.engine.Upload(t.Context(), h.now(), payload)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		if i == 2 {
			h.restartServer()
		}
		again, err := h.engine.Upload(t.Context(), h.now(), payload)
		if err != nil || !bytes.Equal(again, first) {
			t.Errorf("upload %d: got %x, %v, want %x", i+2, again, err, first)
		}
	}
	var refused *delivery.RefusedError
	damaged := bytes.Clone(payload)
	damaged[len(damaged)/2] ^= 1
	if _, err := h.engine.Upload(t.Context(), h.now(), damaged); !errors.As(err, &refused) {
		t.Errorf("a damaged token: got %v, want the lock's refusal", err)
	}
}

func TestRevocationIsConfirmedByTheLock(t *testing.T) {
	h := newHouse(t)
	h.lock.register()
	g := h.give(false, "unlock")
	key := h.key("unlock")
	h.wants(key, codes.Changed)
	h.restartServer() // nothing of the channel is left on this side
	h.wantRevoked(g, true)
	answer, err := key.Exchange(t.Context(), unlock)
	var gone *coapsec.UnprotectedError
	if !errors.As(err, &gone) || gone.Code != codes.Unauthorized {
		t.Errorf("unlock after the revocation: got %v, %v", answer.Code, err)
	}
	if n := h.lock.opened.Load(); n != 1 {
		t.Errorf("the bolt moved %d times", n)
	}
}

func (h *house) wantRevoked(g authz.Grant, confirmed bool) {
	h.t.Helper()
	r, err := h.server.Revoke(h.t.Context(), g.ID)
	if err != nil || r.Confirmed != confirmed {
		h.t.Errorf("revoke: got confirmed %v, %v, %v", r.Confirmed, r.Cause, err)
	}
	kept, err := h.store.Grant(h.t.Context(), g.ID)
	if err != nil || kept.ConfirmedAt.IsZero() == confirmed {
		h.t.Errorf("confirmed at %v, %v", kept.ConfirmedAt, err)
	}
}

// TestRevocationWaitsForALockThatIsOff: no receipt, no word of confirmation; the next attempt brings it.
func TestRevocationWaitsForALockThatIsOff(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.lock.register()
	g := h.give(false, "unlock")
	h.key("unlock")
	address := h.lock.endpoint.LocalAddr().String()
	_ = h.lock.endpoint.Close()
	h.wantRevoked(g, false)
	_ = h.lock.state.Close()
	h.lock.start(address)
	h.wantRevoked(g, true)
}

// TestRestarts: whoever starts anew, the first call of either side gets through, and the next one of the other.
func TestRestarts(t *testing.T) {
	for _, test := range []struct {
		name         string
		server, lock bool
	}{{"server", true, false}, {"lock", false, true}, {"both", true, true}} {
		for _, first := range []string{"server calls", "lock calls"} {
			t.Run(test.name+" restarts, "+first, func(t *testing.T) {
				h := newHouse(t)
				h.lock.register()
				if test.lock {
					h.lock.restart()
				}
				if test.server {
					h.restartServer()
				}
				if first == "lock calls" {
					h.lock.register()
				}
				h.wantRevoked(h.give(false, "unlock"), true)
				h.lock.register()
				h.give(false, "unlock")
				h.wants(h.key("unlock"), codes.Changed)
			})
		}
	}
}

// TestBothRestartAndCallAtOnce: after a power cut in the whole street.
func TestBothRestartAndCallAtOnce(t *testing.T) {
	h := newHouse(t)
	h.lock.register()
	for range 10 {
		h.lock.restart()
		h.restartServer()
		g := h.give(false, "unlock")
		var calls sync.WaitGroup
		calls.Go(func() {
			if _, err := h.lock.registrar.Register(t.Context()); err != nil {
				t.Error(err)
			}
		})
		calls.Go(func() {
			if r, err := h.server.Revoke(t.Context(), g.ID); err != nil || !r.Confirmed {
				t.Errorf("revoke: got confirmed %v, %v, %v", r.Confirmed, r.Cause, err)
			}
		})
		calls.Wait()
	}
}
