package coapsec

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
)

// TestAliases: a peer keeps its alias, and the one silent for longest loses it.
func TestAliases(t *testing.T) {
	c := newAliased(nil)
	at := func(n int) netip.AddrPort { return c.alias(&net.UnixAddr{Name: fmt.Sprint(n), Net: "unixgram"}) }
	first, second := at(0), at(1)
	if !first.IsValid() || first == second || first.Addr().As16()[0] != 0xfd {
		t.Fatalf("got %v and %v", first, second)
	}
	for n := 2; n <= maxAliases; n++ {
		if at(0) != first { // heard of again and again
			t.Fatal("another alias for the same peer")
		}
		at(n)
	}
	if c.heard.Len() != maxAliases || len(c.byName) != maxAliases || len(c.byAlias) != maxAliases {
		t.Errorf("got %d, %d, %d peers, want %d", c.heard.Len(), len(c.byName), len(c.byAlias), maxAliases)
	}
	if at(0) != first {
		t.Error("a peer that is heard of has lost its alias")
	}
	if again := at(1); again == second {
		t.Error("an alias was given twice")
	}
	if at := c.alias(&net.UnixAddr{Net: "unixgram"}); at.IsValid() {
		t.Errorf("a peer without a name: got %v", at)
	}
	if at := c.alias(nil); at.IsValid() {
		t.Errorf("nobody: got %v", at)
	}
}
