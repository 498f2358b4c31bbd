package event

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestStrangersCannotFillTheDisk: whoever can send can make a device say that it refused.
func TestStrangersCannotFillTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := New(&out, Options{})
		out.Reset()
		for range 10_000 {
			p.Refused("192.0.2.66:1", errors.New("security context not found"))
		}
		if got := strings.Count(out.String(), "\n"); got != maxStrangers {
			t.Errorf("got %d lines, want %d", got, maxStrangers)
		}
		out.Reset()
		time.Sleep(time.Second)
		p.Refused("192.0.2.9:1", errors.New("last"))
		if want := "access refused 9980 more by strangers\naccess 192.0.2.9:1 refused last\n"; out.String() != want {
			t.Errorf("got %q, want %q", out.String(), want)
		}
	})
}
