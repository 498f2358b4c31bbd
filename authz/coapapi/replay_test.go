package coapapi_test

import (
	"net"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz/delivery/deliverytest"
	"github.com/latchkey-ace/latchkey/pop/ace"
)

// TestReplaysMintNothing: everything that client and lock ever said is said again, in order and backwards, from another
// address and from the client's own, to the same process, to the next one, and to one that has talked to them meanwhile.
func TestReplaysMintNothing(t *testing.T) {
	w := newWorld(t)
	gateway := w.caller(w.client)
	speak := func() {
		t.Helper()
		w.mustRegister(time.Hour)
		for range 3 {
			gateway.granted(ace.TokenRequest{Audience: "front-door"})
		}
	}
	speak()
	said := w.tape.Between("in", netip.AddrPort{})
	if len(said) < 8 {
		t.Fatalf("only %d datagrams on tape", len(said))
	}
	_ = gateway.endpoint.Close()
	again := func(name string) {
		t.Helper()
		tokens, registration := w.tokens(), w.registration()
		backwards := slices.Clone(said)
		slices.Reverse(backwards)
		for _, tape := range [][]deliverytest.Datagram{said, backwards} {
			w.replay(tape, newSocket(t))
			w.replay(tape, ownSocket(t, gateway.address()))
		}
		if n := w.tokens(); n != tokens {
			t.Errorf("%s: %d tokens, want %d", name, n, tokens)
		}
		if got := w.registration(); !reflect.DeepEqual(got, registration) {
			t.Errorf("%s: registration %+v, want %+v", name, got, registration)
		}
	}
	again("the same process")
	w.restart()
	again("the next process")
	gateway = w.caller(w.client)
	speak()
	_ = gateway.endpoint.Close()
	again("the next process, which they know")
	said = w.tape.Between("in", netip.AddrPort{})
	w.restart()
	again("the third process, all that was ever said")
}

// ownSocket takes over the address of someone who has gone.
func ownSocket(t *testing.T, address netip.AddrPort) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(address))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// replay says the requests again, and waits for each to be answered, as everything confirmable is.
func (w *world) replay(tape []deliverytest.Datagram, from *net.UDPConn) {
	w.t.Helper()
	defer from.Close()
	for _, d := range tape {
		confirmableRequest := d.Bytes[0]&0x30 == 0 && d.Bytes[1] != 0 && d.Bytes[1]>>5 == 0
		send(w.t, from, w, d.Bytes)
		if confirmableRequest && receive(w.t, from) == nil {
			w.t.Errorf("no answer to %x", d.Bytes)
		}
	}
}
