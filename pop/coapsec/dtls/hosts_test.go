package dtls

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"testing"
)

// TestHandshakeShareOfALink is about one host that has a whole IPv6 link to choose addresses from: it holds no more
// proven handshakes than one that has a single address.
func TestHandshakeShareOfALink(t *testing.T) {
	for _, test := range []struct {
		name string
		at   func(n byte) netip.Addr
		want int
	}{
		{"one IPv4 address", func(byte) netip.Addr { return netip.MustParseAddr("192.0.2.1") }, 2},
		{"many IPv4 addresses", func(n byte) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, n}) }, 6},
		{"one IPv6 link", func(n byte) netip.Addr { return netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 15: n}) }, 2},
		{"one IPv6 link with zones", func(n byte) netip.Addr {
			return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 15: n}).WithZone(string('a' + rune(n)))
		}, 2},
		{"many IPv6 links", func(n byte) netip.Addr { return netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 7: n}) }, 6},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := quiet
			o.MaxHandshakes = 8
			s := NewServer(loopback(t), keys(), answer, o)
			defer s.Close()
			for n := range byte(6) {
				from := netip.AddrPortFrom(test.at(n), 5000+uint16(n))
				s.grey.returns(from, s.o.Now())
				_, cancel := context.WithCancel(t.Context())
				a, _ := s.begin(from, cancel)
				if a == nil {
					t.Fatalf("handshake %d found no room", n)
				}
				s.prove(a)
			}
			if _, got, _ := s.counts(); got != test.want {
				t.Errorf("got %d handshakes, want %d", got, test.want)
			}
		})
	}
}

// TestStrangersWriteNoLog has strangers whose handshakes are refused, fail or are dropped before they begin: how many
// there are is theirs to say, so none is worth a line in a log that is not for debugging.
func TestStrangersWriteNoLog(t *testing.T) {
	var lines bytes.Buffer
	o := quiet
	o.Log = slog.New(slog.NewTextHandler(&lines, nil))
	s := start(t, loopback(t), keys(), answer, o)
	if _, err := Dial(t.Context(), s.LocalAddr(), []byte("mallory"), aliceKey, quiet); err == nil {
		t.Fatal("got in")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	a, _ := s.begin(netip.MustParseAddrPort("192.0.2.1:5000"), cancel)
	s.drop(a)
	a.run(ctx)
	_ = s.Close()
	if lines.Len() != 0 {
		t.Errorf("got %s", lines.String())
	}
}
