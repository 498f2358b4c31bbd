package dtls

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

var (
	aliceID  = []byte("alice\x00\xff")
	aliceKey = []byte("0123456789abcdef")
	bobID    = []byte("bob")
	bobKey   = []byte("fedcba9876543210fedcba9876543210")
)

var errStranger = errors.New("nobody of that name")

// ring is Keys for tests: the session is the identity as text.
type ring map[string][]byte

func (r ring) Find(identity []byte, _ netip.AddrPort) ([]byte, any, error) {
	key, ok := r[string(identity)]
	if !ok {
		return nil, nil, errStranger
	}
	return key, string(identity), nil
}

func keys() ring { return ring{string(aliceID): aliceKey, string(bobID): bobKey} }

// answer tells the peer what the handler knows of it; it echoes what is posted.
var answer = coapsec.HandlerFunc(func(_ context.Context, r *coapsec.Request) message.Message {
	if r.Code == codes.POST {
		return message.Message{Code: codes.Changed, Payload: r.Payload}
	}
	name := r.Peer.Session.(string)
	return message.Message{Code: codes.Content, Payload: []byte(name[:min(len(name), 16)])}
})

var quiet = Options{
	Log:      slog.New(slog.DiscardHandler),
	Endpoint: coapsec.EndpointOptions{AckTimeout: 200 * time.Millisecond},
}

func loopback(t testing.TB) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// start serves until the test ends, and then sees everything stop.
func start(t testing.TB, conn net.PacketConn, k Keys, h coapsec.Handler, o Options) *Server {
	t.Helper()
	s := NewServer(conn, k, h, o)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(context.Background()) }()
	t.Cleanup(func() {
		_ = s.Close()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return s
}

func dial(t testing.TB, addr netip.AddrPort, identity, key []byte) *Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := Dial(ctx, addr, identity, key, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func get(ctx context.Context, x coapsec.Exchanger) (string, error) {
	response, err := x.Exchange(ctx, coapsec.NewRequest(codes.GET, "/who", coapsec.NoFormat, nil))
	return string(response.Payload), err
}

func mustGet(t testing.TB, x coapsec.Exchanger, want []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	got, err := get(ctx, x)
	if err != nil || got != string(want) {
		t.Fatalf("got %q, %v, want %q", got, err, want)
	}
}

func TestExchange(t *testing.T) {
	var mu sync.Mutex
	var peers []coapsec.Peer
	began := time.Now()
	s := start(t, loopback(t), keys(), coapsec.HandlerFunc(func(ctx context.Context, r *coapsec.Request) message.Message {
		mu.Lock()
		defer mu.Unlock()
		peers = append(peers, r.Peer)
		return answer(ctx, r)
	}), quiet)
	alice := dial(t, s.LocalAddr(), aliceID, aliceKey)
	bob := dial(t, s.LocalAddr(), bobID, bobKey)
	mustGet(t, alice, aliceID)
	mustGet(t, bob, bobID)
	mustGet(t, alice, aliceID)
	body := bytes.Repeat([]byte{7}, 1000)
	response, err := bob.Exchange(t.Context(), coapsec.NewRequest(codes.POST, "/", coapsec.NoFormat, body))
	if err != nil || !bytes.Equal(response.Payload, body) {
		t.Fatalf("got %d bytes, %v", len(response.Payload), err)
	}
	mu.Lock()
	defer mu.Unlock()
	if got, want := peers[0].Address, alice.LocalAddr().String(); got != want {
		t.Errorf("address: got %s, want %s", got, want)
	}
	if since := peers[0].Since; since.Before(began) || since.After(time.Now()) || peers[2].Since != since {
		t.Errorf("since: got %v and %v", since, peers[2].Since)
	}
	if peers[0].Context != nil || peers[0].Session != string(aliceID) || peers[1].Session != string(bobID) {
		t.Errorf("got %+v", peers)
	}
}
