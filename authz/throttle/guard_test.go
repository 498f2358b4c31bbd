package throttle_test

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz/throttle"
)

// house is a guard with a clock, and what it has told.
type house struct {
	*throttle.Guard
	now     time.Time
	mu      sync.Mutex
	told    []string
	refused map[throttle.Kind]int
}

func guarded(rules map[throttle.Kind]throttle.Rule) *house {
	h := &house{now: start, refused: map[throttle.Kind]int{}}
	h.Guard = throttle.NewGuard(throttle.GuardOptions{
		Now: func() time.Time { return h.now }, Rules: rules,
		Tell: func(kind throttle.Kind, key string) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.told = append(h.told, string(kind)+": "+key)
		},
		Count: func(kind throttle.Kind) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.refused[kind]++
		},
	})
	return h
}

// TestNobodyIsLockedOutByOthers: ten thousand places guess Alice's password (F72); her own browser and Bob notice nothing.
func TestNobodyIsLockedOutByOthers(t *testing.T) {
	h := guarded(nil)
	home := throttle.Place{Network: "192.0.2.0/24", Browser: "hers"}
	if err := h.SignIn("alice", home); err != nil {
		t.Fatal(err)
	}
	h.SignedIn("alice", home)
	passed := 0
	for n := range 10_000 {
		if h.SignIn("alice", throttle.Place{Network: fmt.Sprintf("10.%d.%d.0/24", n/256, n%256), Browser: "bought"}) == nil {
			passed++
		}
	}
	if passed > 100 {
		t.Errorf("%d guesses at one account, want at most 100", passed)
	}
	for n := range 5 {
		if err := h.SignIn("alice", home); err != nil {
			t.Errorf("sign-in %d at home: %v", n, err)
		}
	}
	if err := h.SignIn("bob", throttle.Place{Network: "10.0.0.0/24"}); err != nil {
		t.Errorf("another account from one of these places: %v", err)
	}
	if len(h.told) != 1 || h.told[0] != "strangers: alice" || h.refused[throttle.Strangers] != 10_000-passed {
		t.Errorf("told %q, refused %v", h.told, h.refused)
	}
}

// TestManyGuessesAtOnce are no more than many in turn.
func TestManyGuessesAtOnce(t *testing.T) {
	h := guarded(map[throttle.Kind]throttle.Rule{throttle.Credential: {Free: 5, First: time.Minute, Max: time.Hour}})
	var passed atomic.Int32
	var all sync.WaitGroup
	for range 500 {
		all.Go(func() {
			if h.Guess(throttle.Credential, "app from 192.0.2.0/24") == nil {
				passed.Add(1)
			}
		})
	}
	all.Wait()
	if got := passed.Load(); got != 6 {
		t.Errorf("%d of 500 guesses at once were judged, want 6", got)
	}
}

func TestRefusalSaysHowLong(t *testing.T) {
	h := guarded(map[throttle.Kind]throttle.Rule{throttle.Client: {Burst: 2, Every: 1500 * time.Millisecond}})
	var limited *throttle.Error
	for range 2 {
		if err := h.Allow(throttle.Client, "hub"); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Allow(throttle.Client, "hub"); !errors.As(err, &limited) || limited.Seconds() != 2 || limited.Kind != throttle.Client {
		t.Errorf("got %v", err)
	}
	h.now = h.now.Add(time.Duration(limited.Seconds()) * time.Second)
	if err := h.Allow(throttle.Client, "hub"); err != nil {
		t.Errorf("who waited as told: %v", err)
	}
}

// TestRelayFarm: an installation that serves ever more people is slowed down (F104), and a person with ever more installations; the
// people it has, and those with a phone of their own, notice nothing.
func TestRelayFarm(t *testing.T) {
	h := guarded(nil)
	served := 0
	for i := range 100 {
		if h.Together(fmt.Sprint("guest ", i), "farm") == nil {
			served++
		}
		if err := h.Together(fmt.Sprint("guest ", i), fmt.Sprint("phone ", i)); err != nil {
			t.Fatalf("on a phone of one's own: %v", err)
		}
		if err := h.Together("guest 0", "farm"); err != nil {
			t.Fatalf("who was there before: %v", err)
		}
	}
	var limited *throttle.Error
	if err := h.Together("one more", "farm"); served != 8 || !errors.As(err, &limited) || limited.Kind != throttle.People {
		t.Errorf("%d were served, then %v", served, err)
	}
	if len(h.told) != 1 || h.refused[throttle.People] != 93 {
		t.Errorf("told %v, refused %v", h.told, h.refused)
	}
	h.now = h.now.Add(72 * time.Hour)
	if err := h.Together("one more", "farm"); err != nil {
		t.Errorf("after some days: %v", err)
	}
	fresh := 0
	for i := range 100 {
		if h.Together("alice", fmt.Sprint("new phone ", i)) == nil {
			fresh++
		}
	}
	if fresh != 20 {
		t.Errorf("alice in %d new installations", fresh)
	}
	var none *throttle.Guard
	if none.Together("a", "b") != nil || h.Together("", "farm") != nil || h.Together("a client alone", "") != nil {
		t.Error("what is not meant is limited")
	}
}

func TestWithoutLimit(t *testing.T) {
	var none *throttle.Guard
	none.Succeeded(throttle.Client, "hub")
	none.SignedIn("alice", throttle.Place{})
	h := guarded(map[throttle.Kind]throttle.Rule{throttle.Source: {Burst: 1, Every: time.Hour}})
	for range 3 {
		for what, err := range map[string]error{
			"no guard": none.Allow(throttle.Source, "x"), "no guard, a sign-in": none.SignIn("alice", throttle.Place{}),
			"no rule": h.Allow(throttle.Client, "hub"), "no key": h.Allow(throttle.Source, ""),
			"loopback": h.Network(netip.MustParseAddr("127.0.0.1")), "a unix socket": h.Network(netip.Addr{}),
		} {
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	neighbour := netip.MustParseAddr("192.0.2.9")
	if h.Network(netip.MustParseAddr("192.0.2.1")) != nil || h.Network(neighbour) == nil {
		t.Error("a network does not count as one")
	}
}
