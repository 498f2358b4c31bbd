package coapsec

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// hostile holds datagrams after the advisories for other CoAP stacks, each confirmable with Message-ID 1, and the code of
// the answer; Empty stands for a Reset.
var hostile = []struct {
	name, data string
	want       codes.Code
}{
	{"token length 9 (CVE-2026-27703)", "4901 0001" + strings.Repeat("61", 9), codes.Empty},
	{"token length 15 without a token", "4f01 0001", codes.Empty},
	{"token length 13 with its extension (RFC 8974)", "4d01 0001 00" + strings.Repeat("61", 13), codes.Empty},
	{"token length 14 with a length of 65,804", "4e01 0001 ffff 61", codes.Empty},
	{"token longer than the datagram", "4801 0001 61", codes.Empty},
	{"option number wrapping round to Uri-Path (CVE-2024-40493)", "4001 0001 e0 fefe e1 fefe 61", codes.Empty},
	{"option deltas adding up to 65536", "4001 0001 e0 fef2 d0 00 e0 0000", codes.Empty},
	{"option number 65535", "4001 0001 e0 fef2", codes.BadOption},
	{"option number 0", "4001 0001 00", codes.Empty},
	{"option of 65,804 bytes in a short datagram (CVE-2024-31030)", "4001 0001 be ffff 61", codes.Empty},
	{"option delta cut off", "4001 0001 e0 01", codes.Empty},
	{"option length cut off", "4001 0001 bd", codes.Empty},
	{"1,000 empty options", "4001 0001 b0" + strings.Repeat("00", 999), codes.Empty},
	{"2,000 bytes of Uri-Path in one option", "4001 0001 be 06c3" + strings.Repeat("61", 2000), codes.BadOption},
	{"60,000 bytes of Uri-Path, more than is received", "4001 0001 be e953" + strings.Repeat("61", 60000), codes.Empty},
	{"Uri-Path of 256 bytes", "4001 0001 bd f3" + strings.Repeat("61", 256), codes.BadOption},
	{"payload marker alone", "4001 0001 ff", codes.Empty},
	{"Proxy-Uri", "4001 0001 d5 16 636f61703a", codes.ProxyingNotSupported},
	{"Proxy-Scheme", "4001 0001 d4 1a 636f6170", codes.ProxyingNotSupported},
	{"Observe of four bytes", "4001 0001 64 00000000", codes.Changed},
	{"Block1 of seven", "4003 0001 d1 0e 07", codes.BadOption},
}

func TestHostileDatagramsAreRefusedAndCostOnlyThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := serve(t, loopback(t), Blockwise(HandlerFunc(func(context.Context, *Request) message.Message {
			return message.Message{Code: codes.Changed}
		}), BlockwiseOptions{}), quick)
		c := dial(t, server)
		for i, test := range hostile {
			for _, kind := range []message.Type{message.Confirmable, message.NonConfirmable} {
				data := unhex(t, test.data)
				data[0] = data[0]&^0x30 | byte(kind)<<4
				data[2], data[3] = byte(kind)+1, byte(i)
				c.send(data)
				if kind == message.NonConfirmable || len(data) > maxReceived {
					if got := c.receiveWithin(10 * time.Millisecond); got != nil && (got[0]>>4 != 5 || got[1] != byte(test.want)) {
						t.Errorf("%s, non-confirmable: got %x", test.name, got)
					}
					continue
				}
				got := c.receive()
				if got[1] != byte(test.want) || !bytes.Equal(got[2:4], data[2:4]) || len(got) > maxAmplification*len(data) {
					t.Errorf("%s: got %x, want %v", test.name, got, test.want)
				}
				if test.want == codes.Empty && got[0] != 0x70 {
					t.Errorf("%s: got %x, want a reset", test.name, got)
				}
			}
			c.settled(uint16(9000 + i)) // nothing else came, and the next is taken
		}
		server.mu.Lock()
		defer server.mu.Unlock()
		if got := len(server.duplicates.entries); got > 4 {
			t.Errorf("%d refused datagrams are remembered", got)
		}
	})
}

// TestFloodOfStrangersTakesBoundedMemory sends requests from 300,000 addresses, with answers of 100 bytes.
func TestFloodOfStrangersTakesBoundedMemory(t *testing.T) {
	answer := message.Message{Code: codes.Changed, Payload: make([]byte, 100)}
	e := NewEndpoint(&sink{}, HandlerFunc(func(context.Context, *Request) message.Message { return answer }), EndpointOptions{
		Log: slog.New(slog.DiscardHandler), Trusted: true,
	})
	e.conn = drop{}
	defer func() { _ = e.Close() }()
	datagram := mustEncode(t, confirmable(0, request(codes.GET, "/door/state", nil)))
	heap := func() int {
		e.work.Wait()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	send := func(from, to int) {
		for n := from; n < to; n++ {
			e.receive(t.Context(), peerNumber(n), datagram)
			if n%64 == 0 {
				e.work.Wait()
			}
		}
	}
	const full = 10 * maxRemembered // the map has room for those forgotten lately by then
	send(0, full)
	before := heap()
	send(full, 2*full)
	if grown := heap() - before; grown > before/5 {
		t.Errorf("heap of %d KiB grew by %d KiB", before>>10, grown>>10)
	}
	if got := len(e.duplicates.entries); got > maxRemembered {
		t.Errorf("got %d entries, want at most %d", got, maxRemembered)
	}
	checkConsistent(t, e.duplicates)
}

func TestSlowHandlerHoldsUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		server := serve(t, loopback(t), HandlerFunc(func(ctx context.Context, r *Request) message.Message {
			if path, _ := r.Path(); path == "/slow" {
				<-release
			}
			return message.Message{Code: codes.Changed}
		}), EndpointOptions{})
		defer close(release)
		slow, other := dial(t, server), dial(t, server)
		for id := range int32(maxRunningPerPeer) {
			slow.sendMessage(confirmable(id, request(codes.GET, "/slow", nil)))
		}
		slow.settled(1000)
		for id := range int32(50) {
			other.sendMessage(confirmable(id, request(codes.GET, "/a", nil)))
			if got := other.receiveMessage(); got.MessageID != id || got.Code != codes.Changed {
				t.Fatalf("got %v, want the answer to %d", &got, id)
			}
		}
	})
}

// TestEmptyAcknowledgementIsNeverLate runs handlers that return about when the clock strikes: whatever comes first, an empty
// acknowledgement is never sent after an answer in one, nor an answer in one after an empty one.
func TestEmptyAcknowledgementIsNeverLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const requests = 300
		var mu sync.Mutex
		sent := map[uint16][]byte{} // codes of the acknowledgements of each request
		s := &tapped{sent: func(data []byte) {
			if message.Type(data[0]>>4&3) == message.Acknowledgement {
				mu.Lock()
				defer mu.Unlock()
				id := uint16(data[2])<<8 | uint16(data[3])
				sent[id] = append(sent[id], data[1])
			}
		}}
		e := NewEndpoint(s, HandlerFunc(func(_ context.Context, r *Request) message.Message {
			time.Sleep(defaultAckDelay + time.Duration(r.MessageID%3-1)*time.Duration(r.MessageID)*time.Microsecond)
			return message.Message{Code: codes.Changed}
		}), EndpointOptions{Log: slog.New(slog.DiscardHandler)})
		for id := range int32(requests) {
			data := mustEncode(t, confirmable(id, request(codes.GET, "/a", nil)))
			e.receive(context.Background(), peerNumber(int(id)), data)
		}
		time.Sleep(2 * time.Minute)
		_ = e.Close()
		e.work.Wait()
		synctest.Wait()
		for id := range uint16(requests) {
			got, want := sent[id], 1
			if len(got) != want {
				t.Errorf("request %d: got %d acknowledgements, want %d", id, len(got), want)
			}
			early, late := id%3 == 0 && id > 0, id%3 == 2
			if early && got[0] != byte(codes.Changed) || late && got[0] != byte(codes.Empty) {
				t.Errorf("request %d: got acknowledgement with code %v", id, codes.Code(got[0]))
			}
		}
	})
}

// tapped is a socket that hands on what is sent.
type tapped struct {
	sink
	sent func([]byte)
}

func (s *tapped) WriteToUDPAddrPort(b []byte, _ netip.AddrPort) (int, error) {
	s.sent(b)
	return len(b), nil
}

func (s *tapped) ReadFromUDPAddrPort([]byte) (int, netip.AddrPort, error) {
	return 0, netip.AddrPort{}, io.EOF
}

func TestClockServesRequestsThatCameLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := serve(t, loopback(t), slowly(70*time.Millisecond), quick)
		c := dial(t, server)
		for round := range int32(3) {
			for id := range int32(3) {
				c.sendMessage(confirmable(10*round+id, request(codes.POST, "/slow", make([]byte, 40))))
				time.Sleep(8 * time.Millisecond)
			}
			for id := range int32(3) {
				if got := c.receiveMessage(); got.Type != message.Acknowledgement || got.Code != codes.Empty || got.MessageID != 10*round+id {
					t.Errorf("got %v, want an empty acknowledgement of %d", &got, 10*round+id)
				}
			}
			for range 3 {
				m := c.receiveMessage()
				c.send(encodeEmpty(message.Acknowledgement, uint16(m.MessageID)))
			}
		}
	})
}
