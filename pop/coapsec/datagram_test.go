package coapsec

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	data, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// rfc7252 holds the messages of RFC 7252 appendix A.
var rfc7252 = []struct {
	name, data string
	want       message.Message
}{
	{"figure 16, request", "4001 7d34 bb 74656d7065726174757265", message.Message{
		Type: message.Confirmable, Code: codes.GET, MessageID: 0x7d34, Token: message.Token{},
		Options: message.Options{{ID: message.URIPath, Value: []byte("temperature")}},
	}},
	{"figure 16, response", "6045 7d34 ff 32322e332043", message.Message{
		Type: message.Acknowledgement, Code: codes.Content, MessageID: 0x7d34, Token: message.Token{},
		Options: message.Options{}, Payload: []byte("22.3 C"),
	}},
	{"figure 17, request", "4101 7d35 20 bb 74656d7065726174757265", message.Message{
		Type: message.Confirmable, Code: codes.GET, MessageID: 0x7d35, Token: message.Token{0x20},
		Options: message.Options{{ID: message.URIPath, Value: []byte("temperature")}},
	}},
	{"figure 17, response", "6145 7d35 20 ff 32322e332043", message.Message{
		Type: message.Acknowledgement, Code: codes.Content, MessageID: 0x7d35, Token: message.Token{0x20},
		Options: message.Options{}, Payload: []byte("22.3 C"),
	}},
}

func TestDatagramsOfRFC7252AppendixA(t *testing.T) {
	for _, test := range rfc7252 {
		data := unhex(t, test.data)
		m := mustDecode(t, data)
		if m.String() != test.want.String() || !slices.EqualFunc(m.Options, test.want.Options, sameOption) ||
			!bytes.Equal(m.Payload, test.want.Payload) || !bytes.Equal(m.Token, test.want.Token) {
			t.Errorf("%s: got %v, want %v", test.name, &m, &test.want)
		}
		if got := mustEncode(t, test.want); !bytes.Equal(got, data) {
			t.Errorf("%s: encoded %x, want %x", test.name, got, data)
		}
	}
}

func sameOption(a, b message.Option) bool { return a.ID == b.ID && bytes.Equal(a.Value, b.Value) }

// malformed lists datagrams that no peer should send, and what they are answered with.
var malformed = []struct {
	name, data string
	want       error
}{
	{"empty", "", errForeign},
	{"three bytes", "400100", errForeign},
	{"version 0", "0001 0001", errForeign},
	{"version 2", "8001 0001", errForeign},
	{"version 3", "c001 0001", errForeign},
	{"token length 9", "4901 0001 000102030405060708", errMalformed},
	{"token length 13, as in RFC 8974", "4d01 0001 00 00000000000000000000000000", errMalformed},
	{"token length 15", "4f01 0001 000102030405060708090a0b0c0d0e", errMalformed},
	{"token cut off", "4401 0001 000102", errMalformed},
	{"empty message with token", "4100 0001 00", errMalformed},
	{"empty message with option", "4000 0001 b0", errMalformed},
	{"empty message with payload", "4000 0001 ff 00", errMalformed},
	{"code class 1", "4020 0001", errMalformed},
	{"code class 3", "4060 0001", errMalformed},
	{"code class 6", "40c0 0001", errMalformed},
	{"code class 7", "40e1 0001", errMalformed},
	{"reset with code", "7045 0001", errMalformed},
	{"acknowledgement with request", "6001 0001", errMalformed},
	{"option delta 15", "4001 0001 f0", errMalformed},
	{"option length 15", "4001 0001 0f", errMalformed},
	{"option value cut off", "4001 0001 b4 616263", errMalformed},
	{"one-byte delta cut off", "4001 0001 d0", errMalformed},
	{"two-byte delta cut off", "4001 0001 e0 00", errMalformed},
	{"option number beyond 65535", "4001 0001 e0 ffff", errMalformed},
	{"option number wrapping round", "4001 0001 e0 fef2 e0 fef2", errMalformed},
	{"65,804 byte option in a short datagram", "4001 0001 be ffff 61", errMalformed},
	{"33 options", "4001 0001 b0" + strings.Repeat("00", 32), errMalformed},
	{"payload marker without payload", "4001 0001 ff", errMalformed},
	{"payload marker without payload after option", "4001 0001 b1 61 ff", errMalformed},
}

func TestMalformedDatagramsAreTold(t *testing.T) {
	for _, test := range malformed {
		if m, err := decodeDatagram(unhex(t, test.data)); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, %v, want %v", test.name, &m, err, test.want)
		}
	}
}

func TestMalformedDatagramCostsOnlyItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := serve(t, loopback(t), HandlerFunc(parrot), quick)
		c := dial(t, server)
		for _, test := range malformed {
			data := unhex(t, test.data)
			for _, kind := range []message.Type{message.Confirmable, message.NonConfirmable} {
				if len(data) > 0 {
					data[0] = data[0]&^0x30 | byte(kind)<<4
				}
				_, err := decodeDatagram(data)
				if err == nil {
					continue // only its own type made it malformed
				}
				c.send(data)
				if kind == message.Confirmable && errors.Is(err, errMalformed) {
					if got := c.receive(); !bytes.Equal(got, append([]byte{0x70, 0}, data[2:4]...)) {
						t.Errorf("%s: got %x, want a reset", test.name, got)
					}
				}
			}
		}
		c.settled(999)
		long := mustEncode(t, confirmable(400, request(codes.POST, "/a", []byte("x"))))
		c.send(append(long, make([]byte, maxReceived+1-len(long))...))
		c.settled(998)
		c.sendMessage(confirmable(500, request(codes.POST, "/a", nil)))
		if got := c.receiveMessage().Code; got != codes.Changed {
			t.Errorf("next request: got %v, want 2.04", got)
		}
	})
}

func TestEveryTruncationIsAnsweredOrIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := serve(t, loopback(t), HandlerFunc(parrot), quick)
		c := dial(t, server)
		m := confirmable(0, request(codes.POST, "/door/unlock", []byte("payload")))
		m.Options = m.Options.Add(message.Option{ID: message.URIQuery, Value: bytes.Repeat([]byte("q"), 20)})
		for n := range len(mustEncode(t, m)) + 1 {
			m.MessageID = int32(n)
			data := mustEncode(t, m)[:n]
			c.send(data)
			_, err := decodeDatagram(data)
			switch {
			case errors.Is(err, errForeign):
			case err != nil:
				if got := c.receiveMessage(); got.Type != message.Reset || got.MessageID != m.MessageID {
					t.Errorf("%d bytes: got %v, want a reset", n, &got)
				}
			default:
				if got := c.receiveMessage(); got.Code != codes.Changed || got.MessageID != m.MessageID {
					t.Errorf("%d bytes: got %v, want 2.04", n, &got)
				}
			}
		}
		c.settled(999)
	})
}

func TestEncodeBringsOptionsIntoOrder(t *testing.T) {
	m := message.Message{Type: message.Confirmable, Code: codes.GET, Options: message.Options{
		{ID: message.URIQuery, Value: []byte("q")}, {ID: message.URIPath, Value: []byte("a")}, {ID: message.URIPath, Value: []byte("b")},
	}}
	got := mustDecode(t, mustEncode(t, m))
	want := message.Options{m.Options[1], m.Options[2], m.Options[0]}
	if !slices.EqualFunc(got.Options, want, sameOption) {
		t.Errorf("got %v, want %v", got.Options, want)
	}
	if m.Options[0].ID != message.URIQuery {
		t.Error("the caller's options were changed")
	}
}

func FuzzDecodeDatagram(f *testing.F) {
	for _, test := range rfc7252 {
		f.Add(unhex(f, test.data))
	}
	for _, test := range malformed {
		f.Add(unhex(f, test.data))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := decodeDatagram(data)
		if err != nil {
			return
		}
		again, err := encodeDatagram(m)
		if errors.Is(err, errTooLarge) {
			return
		}
		if err != nil {
			t.Fatalf("encode %v: %v", &m, err)
		}
		back := mustDecode(t, again)
		if back.Type != m.Type || back.Code != m.Code || back.MessageID != m.MessageID || !bytes.Equal(back.Token, m.Token) ||
			!slices.EqualFunc(back.Options, m.Options, sameOption) || !bytes.Equal(back.Payload, m.Payload) {
			t.Errorf("got %v, want %v", &back, &m)
		}
	})
}

// sink is a socket that only counts what is sent.
type sink struct{ sent [][]byte }

func (s *sink) ReadFrom([]byte) (int, net.Addr, error) { return 0, nil, net.ErrClosed }
func (s *sink) WriteTo(b []byte, _ net.Addr) (int, error) {
	s.sent = append(s.sent, bytes.Clone(b))
	return len(b), nil
}
func (s *sink) Close() error                     { return nil }
func (s *sink) LocalAddr() net.Addr              { return &net.UDPAddr{} }
func (s *sink) SetDeadline(time.Time) error      { return nil }
func (s *sink) SetReadDeadline(time.Time) error  { return nil }
func (s *sink) SetWriteDeadline(time.Time) error { return nil }

// FuzzReceive sends two datagrams to an endpoint from one address: whatever they are, each gets at most one well-formed
// answer and at most three times its bytes.
func FuzzReceive(f *testing.F) {
	for _, test := range rfc7252 {
		f.Add(unhex(f, test.data), unhex(f, test.data))
	}
	for _, test := range malformed {
		f.Add(unhex(f, test.data), unhex(f, "4001 0001"))
	}
	f.Add(unhex(f, "4003 0001 b1 61 d1 03 0e ff 30313233343536373839303132333435"), unhex(f, "4003 0002 b1 61 d1 03 16 ff 30"))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		s := &sink{}
		e := NewEndpoint(s, Blockwise(HandlerFunc(parrot), BlockwiseOptions{}), EndpointOptions{Log: slog.New(slog.DiscardHandler)})
		defer func() { _ = e.Close() }()
		for _, data := range [][]byte{first, second} {
			s.sent = nil
			e.receive(context.Background(), netip.MustParseAddrPort("192.0.2.1:5683"), data)
			e.work.Wait()
			if len(s.sent) > 1 {
				t.Fatalf("got %d answers, want at most one", len(s.sent))
			}
			for _, answer := range s.sent {
				mustDecode(t, answer)
				if len(answer) > 3*len(data) {
					t.Errorf("got %d bytes for %d", len(answer), len(data))
				}
			}
		}
	})
}
