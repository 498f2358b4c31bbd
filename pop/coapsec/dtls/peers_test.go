package dtls

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// keysFunc is Keys.
type keysFunc func(identity []byte, peer netip.AddrPort) ([]byte, any, error)

func (f keysFunc) Find(identity []byte, peer netip.AddrPort) ([]byte, any, error) {
	return f(identity, peer)
}

func (s *Server) counts() (established, handshakes, places int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.established.Len(), s.handshakes.Len(), len(s.places)
}

// TestRefused has clients that must not get in. Those whose identity leads to no key are told so, and no more.
func TestRefused(t *testing.T) {
	long := bytes.Repeat([]byte{0xa1}, maxIdentity)
	table := ring{string(aliceID): aliceKey, string(long): aliceKey, "short": []byte("secretPSK")}
	k := keysFunc(func(identity []byte, peer netip.AddrPort) ([]byte, any, error) {
		switch string(identity) {
		case "panic":
			panic("key table")
		case "nobody":
			return aliceKey, nil, nil
		case "slice":
			return aliceKey, []byte("x"), nil
		}
		return table.Find(identity, peer)
	})
	s := start(t, loopback(t), k, answer, quiet)
	for _, test := range []struct {
		name     string
		identity []byte
		key      []byte
		told     bool
	}{
		{"unknown identity", []byte("mallory"), aliceKey, true},
		{"truncated identity", aliceID[:len(aliceID)-1], aliceKey, true},
		{"identity with one byte more", append(bytes.Clone(aliceID), 0), aliceKey, true},
		{"key table that panics", []byte("panic"), aliceKey, true},
		{"session that is nil", []byte("nobody"), aliceKey, true},
		{"session that cannot be compared", []byte("slice"), aliceKey, true},
		{"key of the table too short", []byte("short"), aliceKey, true},
		{"wrong key", aliceID, bobKey, false},
		{"key with one bit flipped", aliceID, append([]byte{aliceKey[0] ^ 1}, aliceKey[1:]...), false},
		{"longest identity, wrong key", long, bobKey, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := newRelay(t, s.LocalAddr())
			ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
			defer cancel()
			c, err := Dial(ctx, r.addr(), test.identity, test.key, quiet)
			if err == nil {
				_ = c.Close()
				t.Fatal("got in")
			}
			if test.told == errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("told: got %v, want %v: %v", !test.told, test.told, err)
			}
			_, heard := r.transcript()
			last := heard[len(heard)-1]
			if alert := []byte{kindAlert, 0xfe, 0xfd, 0, 0}; test.told && (!bytes.HasPrefix(last, alert) || last[14] != illegalParameter) {
				t.Errorf("last words: got %x", last)
			}
		})
	}
	for _, identity := range [][]byte{nil, {}, append(long, 1)} {
		if _, err := Dial(t.Context(), s.LocalAddr(), identity, aliceKey, quiet); !errors.Is(err, errIdentity) {
			t.Errorf("own identity of %d bytes: got %v", len(identity), err)
		}
	}
	if _, err := Dial(t.Context(), s.LocalAddr(), aliceID, aliceKey[1:], quiet); !errors.Is(err, errKey) {
		t.Errorf("own key too short: got %v", err)
	}
	mustGet(t, dial(t, s.LocalAddr(), long, aliceKey), long[:16])
	mustGet(t, dial(t, s.LocalAddr(), aliceID, aliceKey), aliceID)
}

func TestRebindWithConnectionID(t *testing.T) {
	var last atomic.Pointer[coapsec.Peer]
	s := start(t, loopback(t), keys(), coapsec.HandlerFunc(func(ctx context.Context, r *coapsec.Request) message.Message {
		last.Store(&r.Peer)
		return answer(ctx, r)
	}), quiet)
	r := newRelay(t, s.LocalAddr())
	c := dial(t, r.addr(), aliceID, aliceKey)
	mustGet(t, c, aliceID)
	before := *last.Load()
	for range 3 {
		now := r.rebind()
		mustGet(t, c, aliceID)
		if got := *last.Load(); got.Address != now.String() || got.Session != before.Session || got.Since != before.Since {
			t.Fatalf("got %+v, want address %v and all else as in %+v", got, now, before)
		}
	}
	// The address of the handshake is free for others, who are others.
	if established, _, _ := s.counts(); established != 1 {
		t.Errorf("got %d associations, want 1", established)
	}
}

// TestInjection sends to both ends what they must not take from anyone in clear (CVE-2019-20786 and its kin).
func TestInjection(t *testing.T) {
	var requests atomic.Int32
	s := start(t, loopback(t), keys(), coapsec.HandlerFunc(func(ctx context.Context, r *coapsec.Request) message.Message {
		requests.Add(1)
		return answer(ctx, r)
	}), quiet)
	r := newRelay(t, s.LocalAddr())
	c := dial(t, r.addr(), aliceID, aliceKey)
	coapGet := []byte{0x40, 1, 0x77, 0x77}
	clear := func(kind byte, epoch byte, body []byte) []byte {
		return append([]byte{kind, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0xff, 0xff, byte(len(body) >> 8), byte(len(body))}, body...)
	}
	garbage := bytes.Repeat([]byte{0x5a}, 40)
	withID := append([]byte{kindConnectionID, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0xff, 0xff}, append(make([]byte, cidLength), 0, 40)...)
	s.mu.Lock()
	for cid := range s.byCID {
		copy(withID[11:], cid[:])
	}
	s.mu.Unlock()
	attack := func() {
		for _, datagram := range [][]byte{
			coapGet,
			clear(kindApplicationData, 0, coapGet),
			clear(kindApplicationData, 1, coapGet),
			clear(kindApplicationData, 1, garbage),
			clear(kindAlert, 0, []byte{2, 80}),
			clear(kindAlert, 0, []byte{1, 0}),
			clear(kindAlert, 1, []byte{2, 80}),
			clear(kindAlert, 0, garbage),
			clear(kindChangeCipherSpec, 0, []byte{1}),
			clear(kindChangeCipherSpec, 0, []byte{2}),
			clear(kindHandshake, 0, garbage),
			clear(kindHandshake, 0, append([]byte{20, 0, 0, 12, 0, 4, 0, 0, 0, 0, 0, 12}, garbage[:12]...)),
			clear(kindHandshake, 1, garbage),
			clear(99, 0, garbage),
			clear(kindApplicationData, 7, garbage),
			append(withID, garbage...),
			withID,
			clear(kindHandshake, 0, garbage)[:20],
			{},
		} {
			r.inject(datagram)
			r.injectBack(datagram)
		}
	}
	attack() // before the first message
	mustGet(t, c, aliceID)
	attack()
	mustGet(t, c, aliceID)
	if got := requests.Load(); got != 2 {
		t.Errorf("got %d requests, want 2", got)
	}
}

func TestReplay(t *testing.T) {
	var in atomic.Int32
	o := quiet
	o.Tap = func(direction string, _ netip.AddrPort, _ []byte) {
		if direction == "in" {
			in.Add(1)
		}
	}
	s := start(t, loopback(t), keys(), answer, o)
	r := newRelay(t, s.LocalAddr())
	c := dial(t, r.addr(), aliceID, aliceKey)
	mustGet(t, c, aliceID)
	mustGet(t, c, aliceID)
	sent, _ := r.transcript()
	for range 2 {
		for _, datagram := range sent {
			r.inject(datagram)
		}
		r.rebind() // and once more from elsewhere
	}
	mustGet(t, c, aliceID)
	if got := in.Load(); got != 3 {
		t.Errorf("got %d messages, want 3", got)
	}
}

// TestMalformedHandshake flips every bit of what a client sends, in a server that others use meanwhile.
func TestMalformedHandshake(t *testing.T) {
	s := start(t, loopback(t), keys(), answer, quiet)
	bystander := dial(t, s.LocalAddr(), bobID, bobKey)
	r := newRelay(t, s.LocalAddr())
	_ = dial(t, r.addr(), aliceID, aliceKey)
	sent, _ := r.transcript()
	for i, datagram := range sent {
		attacker := loopback(t)
		send := func(data []byte) { _, _ = attacker.WriteToUDPAddrPort(data, s.LocalAddr()) }
		for n := range datagram {
			for bit := range 8 {
				changed := bytes.Clone(datagram)
				changed[n] ^= 1 << bit
				for _, before := range sent[:i] {
					send(before)
				}
				send(changed)
			}
			send(datagram[:n])
		}
		mustGet(t, bystander, bobID)
	}
	mustGet(t, bystander, bobID)
	mustGet(t, dial(t, s.LocalAddr(), aliceID, aliceKey), aliceID)
}

func TestEnd(t *testing.T) {
	s := start(t, loopback(t), keys(), answer, quiet)
	alice, again, bob := dial(t, s.LocalAddr(), aliceID, aliceKey), dial(t, s.LocalAddr(), aliceID, aliceKey), dial(t, s.LocalAddr(), bobID, bobKey)
	for _, c := range []*Conn{alice, again} {
		mustGet(t, c, aliceID) // the newer one has not ended the older
	}
	mustGet(t, alice, aliceID)
	s.End(string(aliceID))
	s.End(nil)
	for _, c := range []*Conn{alice, again} {
		eventually(t, "close_notify arrives", func() bool {
			_, err := get(t.Context(), c)
			return errors.Is(err, ErrLost)
		})
	}
	mustGet(t, bob, bobID)
	if established, handshakes, places := s.counts(); established != 1 || handshakes != 0 || places != 1 {
		t.Errorf("got %d associations, %d handshakes, %d places", established, handshakes, places)
	}
}

// TestEndDuringHandshake ends the session between the look-up of its key and the end of the handshake.
func TestEndDuringHandshake(t *testing.T) {
	var started atomic.Pointer[Server]
	var calls atomic.Int32
	s := start(t, loopback(t), keysFunc(func(identity []byte, peer netip.AddrPort) ([]byte, any, error) {
		if calls.Add(1) == 1 {
			started.Load().End(string(identity))
			return keys().Find(identity, peer)
		}
		return nil, nil, errStranger
	}), answer, quiet)
	started.Store(s)
	c, err := Dial(t.Context(), s.LocalAddr(), aliceID, aliceKey, quiet)
	if err == nil {
		_ = c.Close()
		t.Fatal("got in with a key that was taken away")
	}
	if got := calls.Load(); got != 2 {
		t.Errorf("got %d look-ups, want 2", got)
	}
}

// TestLost is about exchanges under way when their association ends.
func TestLost(t *testing.T) {
	entered := make(chan struct{}, 1)
	s := start(t, loopback(t), keys(), coapsec.HandlerFunc(func(ctx context.Context, _ *coapsec.Request) message.Message {
		entered <- struct{}{}
		<-ctx.Done()
		return message.Message{Code: codes.Content}
	}), quiet)
	alice := dial(t, s.LocalAddr(), aliceID, aliceKey)
	got := make(chan error, 1)
	go func() {
		_, err := get(context.Background(), alice)
		got <- err
	}()
	<-entered
	s.End(string(aliceID))
	if err := <-got; !errors.Is(err, ErrLost) || !strings.Contains(err.Error(), "unknown") {
		t.Errorf("ended by the server: got %v", err)
	}
	bob := dial(t, s.LocalAddr(), bobID, bobKey)
	go func() {
		_, err := get(context.Background(), bob)
		got <- err
	}()
	<-entered
	_ = bob.Close()
	if err := <-got; !errors.Is(err, ErrLost) {
		t.Errorf("closed by the client: got %v", err)
	}
	eventually(t, "close_notify reaches the server", func() bool {
		established, _, _ := s.counts()
		return established == 0
	})
}
