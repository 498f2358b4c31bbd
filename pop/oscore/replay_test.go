package oscore

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/plgd-dev/go-coap/v3/message"
	"pgregory.net/rapid"
)

func TestReplayWindow(t *testing.T) {
	for _, c := range []struct {
		name    string
		numbers []uint64
		want    string // one letter per number: a accepted, r refused
	}{
		{"in order", []uint64{0, 1, 2}, "aaa"},
		{"twice", []uint64{5, 5}, "ar"},
		{"older one accepted once", []uint64{3, 5, 4, 4, 3}, "aaarr"},
		{"top never moves back", []uint64{10, 7, 10, 7}, "aarr"},
		{"last of the window", []uint64{31, 0, 0}, "aar"},
		{"one too old", []uint64{32, 0, 1}, "ara"},
		{"jump clears the window", []uint64{1, 1000, 999, 968, 969, 1}, "aaarar"},
		{"largest number", []uint64{MaxSequence, MaxSequence, MaxSequence - 1}, "ara"},
	} {
		var w window
		got := ""
		for _, n := range c.numbers {
			if w.fresh(n) {
				w.mark(n)
				got += "a"
			} else {
				got += "r"
			}
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func TestReplayWindowAgreesWithSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w window
		seen := map[uint64]bool{}
		var top, floor uint64
		for i, n := range rapid.SliceOfN(rapid.Uint64Range(0, 120), 1, 200).Draw(t, "numbers") {
			if i > 0 && rapid.IntRange(0, 49).Draw(t, "restart") == 0 {
				w.startAt(n) // as after a loss: nothing else is known
				clear(seen)
				top, floor = n, n+1
				continue
			}
			want := !seen[n] && n >= floor && (len(seen) == 0 && floor == 0 || n+WindowSize > top)
			if got := w.fresh(n); got != want {
				t.Fatalf("%d after %v: got %v, want %v", n, seen, got, want)
			}
			if want {
				w.mark(n)
				seen[n] = true
				top = max(top, n)
			}
		}
	})
}

func TestReplayUnderConcurrency(t *testing.T) {
	client, server := pair(t, nil)
	var requests []message.Message
	for range 20 {
		m, _ := mustRequest(t, client, get("a"))
		requests = append(requests, m)
	}
	var group sync.WaitGroup
	var mu sync.Mutex
	accepted := map[int]int{}
	for range 4 {
		for i, m := range requests {
			group.Go(func() {
				if _, _, err := server.UnprotectRequest(m); err == nil {
					mu.Lock()
					accepted[i]++
					mu.Unlock()
				}
			})
		}
	}
	group.Wait()
	for i := range requests {
		if accepted[i] != 1 {
			t.Errorf("request %d accepted %d times, want once", i, accepted[i])
		}
	}
}

// Two copies may both pass the check before decryption; only one passes the check after it.
func TestWindowIsCheckedAgainAfterDecryption(t *testing.T) {
	_, server := pair(t, nil)
	for range 2 {
		if !server.admissible(5) {
			t.Fatal("a new number is not admissible")
		}
	}
	if _, err := server.admit(5); err != nil {
		t.Fatal(err)
	}
	if _, err := server.admit(5); !errors.Is(err, ErrReplay) {
		t.Errorf("second copy: got %v, want %v", err, ErrReplay)
	}
}

func TestForgedRequestDoesNotMoveTheWindow(t *testing.T) {
	client, server := pair(t, nil)
	forger := newContext(t, Params{MasterSecret: []byte("another secret.."), SenderID: []byte{1}, RecipientID: []byte{2}}, Options{Next: 5000})
	forged, _ := mustRequest(t, forger, get("a"))
	if _, _, err := server.UnprotectRequest(forged); !errors.Is(err, ErrDecrypt) {
		t.Fatalf("forged: got %v, want %v", err, ErrDecrypt)
	}
	request, _ := mustRequest(t, client, get("a"))
	mustUnprotect(t, server, request)
}

// A restarted server knows nothing of what it received before (appendix B.1.2).
func TestLostWindow(t *testing.T) {
	p := Params{MasterSecret: testSecret, SenderID: []byte{1}, RecipientID: []byte{2}}
	client := newContext(t, p, Options{})
	q := p
	q.SenderID, q.RecipientID = p.RecipientID, p.SenderID
	server := newContext(t, q, Options{Next: 64, WindowLost: true})
	old, _ := mustRequest(t, client, get("a"))
	fresh, _ := mustRequest(t, client, get("a"))

	for range 2 {
		_, x := mustUnprotect(t, server, old)
		if !x.WindowLost() || !server.WindowLost() {
			t.Fatal("the loss is not shown")
		}
		if piv := optionOf(t, mustRespond(t, server, x, false)).PartialIV; piv == nil {
			t.Fatal("response reuses the nonce of a request that may be a replay")
		}
	}
	_, x := mustUnprotect(t, server, fresh)
	_, copied := mustUnprotect(t, server, fresh)
	_, late := mustUnprotect(t, server, old)
	if err := server.RecoverWindow(x); err != nil || server.WindowLost() {
		t.Fatalf("recover: %v, still lost: %v", err, server.WindowLost())
	}
	if err := server.RecoverWindow(copied); !errors.Is(err, ErrReplay) {
		t.Errorf("recover by a copy: got %v, want %v", err, ErrReplay)
	}
	if err := server.RecoverWindow(late); !errors.Is(err, ErrReplay) {
		t.Errorf("recover by an older request: got %v, want %v", err, ErrReplay)
	}
	for name, m := range map[string]message.Message{"the old request": old, "the recovering request": fresh} {
		if _, _, err := server.UnprotectRequest(m); !errors.Is(err, ErrReplay) {
			t.Errorf("%s again: got %v, want %v", name, err, ErrReplay)
		}
	}
	next, _ := mustRequest(t, client, get("a"))
	if _, x := mustUnprotect(t, server, next); x.WindowLost() {
		t.Error("loss shown after recovery")
	}
}

// A context that goes on where an earlier one stopped knows no window, also when its maker forgets to say so: a recorded
// request would be accepted again, and its nonce protect a second response.
func TestContextThatGoesOnHasNoWindow(t *testing.T) {
	client, server := pair(t, nil)
	recorded, _ := mustRequest(t, client, get("a"))
	_, x := mustUnprotect(t, server, recorded)
	first := mustRespond(t, server, x, false)

	p := Params{MasterSecret: testSecret, SenderID: server.SenderID(), RecipientID: client.SenderID()}
	again := newContext(t, p, Options{Next: ReserveBatch})
	_, x = mustUnprotect(t, again, recorded)
	if !x.WindowLost() || !again.WindowLost() {
		t.Error("a request that may be a replay passes for a new one")
	}
	if second := mustRespond(t, again, x, false); bytes.Equal(optionOf(t, second).PartialIV, optionOf(t, first).PartialIV) {
		t.Error("two responses under one nonce")
	}
}

// disk is what survives a power cut.
type disk struct {
	limit  uint64
	writes int
	fail   bool
}

func (d *disk) Reserve(limit uint64) error {
	if d.fail {
		return errors.New("no space")
	}
	d.limit, d.writes = limit, d.writes+1
	return nil
}

func TestRestartNeverReusesANumber(t *testing.T) {
	p := Params{MasterSecret: testSecret, SenderID: []byte{1}, RecipientID: []byte{2}}
	rapid.Check(t, func(t *rapid.T) {
		d := &disk{}
		used := map[uint64]bool{}
		for range 20 {
			c, err := New(p, Options{Sequence: d, Next: d.limit})
			if err != nil {
				t.Fatal(err)
			}
			for range rapid.IntRange(0, 3*ReserveBatch).Draw(t, "messages") {
				_, x, err := c.ProtectRequest(get("a"))
				if err != nil {
					t.Fatal(err)
				}
				if used[x.number()] {
					t.Fatalf("number %d used again", x.number())
				}
				used[x.number()] = true
			}
			if rapid.Bool().Draw(t, "cut between reserving and using") {
				_ = d.Reserve(d.limit + ReserveBatch)
			}
		}
		if most := len(used)/ReserveBatch + 40; d.writes > most {
			t.Fatalf("%d writes for %d messages", d.writes, len(used))
		}
	})
}

func TestNothingIsSentWhenReservingFails(t *testing.T) {
	d := &disk{fail: true}
	c := newContext(t, Params{MasterSecret: testSecret, SenderID: []byte{1}, RecipientID: []byte{2}}, Options{Sequence: d})
	if _, _, err := c.ProtectRequest(get("a")); err == nil {
		t.Fatal("protected without a reserved number")
	}
	d.fail = false
	_, x := mustRequest(t, c, get("a"))
	if x.number() != 0 || d.limit != ReserveBatch {
		t.Errorf("number %d, limit %d", x.number(), d.limit)
	}
}

func TestPartialIVIsShortest(t *testing.T) {
	for number, want := range map[uint64]string{0: "00", 1: "01", 255: "ff", 256: "0100", 1 << 32: "0100000000", MaxSequence: "ffffffffff"} {
		var buffer [8]byte
		if got := fmt.Sprintf("%x", encodePIV(&buffer, number)); got != want {
			t.Errorf("%d: got %s, want %s", number, got, want)
		}
	}
}
