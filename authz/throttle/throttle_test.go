package throttle_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz/throttle"
	"pgregory.net/rapid"
)

var start = time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)

func TestBucket(t *testing.T) {
	table := throttle.New(throttle.Rule{Burst: 3, Every: time.Second}, 0)
	for n := range 3 {
		if wait := table.Try("a", start); wait != 0 {
			t.Fatalf("request %d has to wait %v", n, wait)
		}
	}
	if wait := table.Try("a", start); wait != time.Second {
		t.Errorf("got %v, want 1s", wait)
	}
	if wait := table.Try("b", start); wait != 0 {
		t.Errorf("another key has to wait %v", wait)
	}
	if wait := table.Try("a", start.Add(999*time.Millisecond)); wait != time.Millisecond {
		t.Errorf("got %v, want 1ms", wait)
	}
	if wait := table.Try("a", start.Add(time.Second)); wait != 0 {
		t.Errorf("who waited as told has to wait %v", wait)
	}
}

func TestDelayDoubles(t *testing.T) {
	table := throttle.New(throttle.Rule{Free: 2, First: time.Second, Max: 5 * time.Second}, 0)
	now := start
	for n, want := range []time.Duration{0, 0, 1, 2, 4, 5, 5} {
		if wait := table.Guess("a", now); wait != 0 {
			t.Fatalf("guess %d has to wait %v", n+1, wait)
		}
		if got := table.Try("a", now); got != want*time.Second {
			t.Errorf("after guess %d: got %v, want %v", n+1, got, want*time.Second)
		}
		now = now.Add(want * time.Second)
	}
	table.Guess("a", now)
	if table.Guess("a", now) == 0 || table.Guess("a", now.Add(4999*time.Millisecond)) != time.Millisecond {
		t.Error("a guess during the delay was let through, or made it longer")
	}
	table.Succeeded("a")
	if wait := table.Guess("a", now); wait != 0 {
		t.Errorf("after a success: %v", wait)
	}
	if wait := table.Guess("a", now); wait != 0 {
		t.Errorf("after the first guess after a success: %v", wait)
	}
}

func TestKeysAreBounded(t *testing.T) {
	table := throttle.New(throttle.Rule{Burst: 1, Every: time.Hour}, 100)
	for n := range 1000 {
		table.Try(fmt.Sprint(n), start)
	}
	if got := table.Len(); got != 100 {
		t.Errorf("%d keys, want 100", got)
	}
	if table.Try("999", start) == 0 {
		t.Error("the newest key was forgotten")
	}
}

// TestNeverMoreThanTheRule: whatever the rhythm, no span of time sees more than the burst and what has dripped since.
func TestNeverMoreThanTheRule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rule := throttle.Rule{Burst: rapid.IntRange(1, 5).Draw(t, "burst"), Every: time.Second}
		table := throttle.New(rule, 0)
		now := start
		var served []time.Time
		for range 60 {
			now = now.Add(time.Duration(rapid.IntRange(0, 1500).Draw(t, "pause")) * time.Millisecond)
			wait := table.Try("a", now)
			if wait == 0 {
				served = append(served, now)
			} else if rapid.Bool().Draw(t, "obeys") {
				now = now.Add(wait)
				if table.Try("a", now) != 0 {
					t.Fatal("who waited as told is refused")
				}
				served = append(served, now)
			}
		}
		for i := range served {
			for j := i; j < len(served); j++ {
				if most := rule.Burst + int(served[j].Sub(served[i])/rule.Every); j-i+1 > most {
					t.Fatalf("%d served within %v", j-i+1, served[j].Sub(served[i]))
				}
			}
		}
	})
}

func TestSourceOf(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.77": "192.0.2.0/24", "::ffff:192.0.2.77": "192.0.2.0/24",
		"2001:db8:1:2ff::1": "2001:db8:1:200::/56", "fe80::1%eth0": "fe80::/56",
	} {
		if got := throttle.SourceOf(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: got %s, want %s", address, got, want)
		}
	}
	if got := throttle.SourceOf(netip.Addr{}); got != "unknown" {
		t.Errorf("got %s", got)
	}
}
