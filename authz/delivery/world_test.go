package delivery_test

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/delivery"
	"github.com/latchkey-ace/latchkey/authz/delivery/deliverytest"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/storage"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// world is a server's end of a channel and a device's, each on a socket of loopback, with nothing above them.
type world struct {
	t        testing.TB
	store    *watched
	engine   *delivery.Engine
	endpoint *coapsec.Endpoint
	tape     *deliverytest.Tape
	device   *deliverytest.Device
	record   authz.Device
	options  coapsec.EndpointOptions

	mu    sync.Mutex
	ahead time.Duration // of the true time
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.ahead)
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ahead += d
}

// newWorld starts both; handler is the device's.
func newWorld(t testing.TB, handler coapsec.HandlerFunc) *world {
	t.Helper()
	w := &world{t: t, tape: &deliverytest.Tape{}, record: deliverytest.Record("front-door")}
	w.store = &watched{Store: openStore(t)}
	if err := w.store.AddDevice(t.Context(), w.record); err != nil {
		t.Fatal(err)
	}
	w.options.Tap = w.tape.Tap
	w.start("")
	w.device = deliverytest.Start(t, w.record, coapsec.Blockwise(handler, coapsec.BlockwiseOptions{}))
	w.place()
	return w
}

func openStore(t testing.TB) authz.Store {
	t.Helper()
	store, err := storage.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "db"), storage.Options{Key: storage.StoreKey{1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// start is a new server process on the same store.
func (w *world) start(address string) {
	w.t.Helper()
	w.engine = delivery.New(w.store, delivery.Options{Now: w.now})
	hello := coapsec.HandlerFunc(func(context.Context, *coapsec.Request) message.Message {
		return message.Message{Code: codes.Changed}
	})
	w.endpoint = deliverytest.Socket(w.t, coapsec.NewSecurity(w.engine, hello, hello, coapsec.SecurityOptions{}), address, w.options)
	w.engine.Use(w.endpoint)
}

// restart ends the server process and starts the next one at the same address.
func (w *world) restart() {
	w.t.Helper()
	address := w.endpoint.LocalAddr().String()
	_ = w.endpoint.Close()
	w.start(address)
}

// place registers the device where it is, for an hour.
func (w *world) place() {
	w.t.Helper()
	w.register(w.device.Address(), time.Hour)
}

func (w *world) register(address netip.AddrPort, lifetime time.Duration) {
	w.t.Helper()
	r := authz.Registration{Address: address.String(), ExpiresAt: w.now().Add(lifetime), SeenAt: w.now()}
	if err := w.store.Register(w.t.Context(), w.record.ID, r); err != nil {
		w.t.Fatal(err)
	}
	var err error
	if w.record, err = w.store.Device(w.t.Context(), w.record.ID); err != nil {
		w.t.Fatal(err)
	}
}

// upload pushes a payload and wants the device's answer to it.
func (w *world) upload(payload string) {
	w.t.Helper()
	answer, err := w.engine.Upload(w.t.Context(), w.record, []byte(payload))
	if err != nil || string(answer) != "taken "+payload {
		w.t.Fatalf("upload %q: got %q, %v", payload, answer, err)
	}
}

// call is a request of the device to its server.
func (w *world) call() {
	w.t.Helper()
	answer, err := w.device.Ask(w.t.Context(), w.endpoint.LocalAddr(), message.Message{Code: codes.POST})
	if err != nil || answer.Code != codes.Changed {
		w.t.Fatalf("device's request: got %v, %v", answer.Code, err)
	}
}

// agree checks that both ends have one context: a request each way costs one message.
func (w *world) agree() {
	w.t.Helper()
	w.tape.Rewind()
	w.upload("again")
	w.call()
	if out, in := len(w.tape.Between("out", netip.AddrPort{})), len(w.tape.Between("in", netip.AddrPort{})); out != 2 || in != 2 {
		w.t.Errorf("a request each way took %d datagrams out and %d in, want 2 and 2", out, in)
	}
}

// inbox is a device that keeps what it gets and takes everything.
type inbox struct {
	brief    bool // answers do not repeat the payload
	mu       sync.Mutex
	requests []*coapsec.Request
}

func (i *inbox) serve(_ context.Context, r *coapsec.Request) message.Message {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.requests = append(i.requests, r)
	if i.brief {
		return coapsec.Content(codes.Created, ace.FormatACE, []byte("taken "))
	}
	return coapsec.Content(codes.Created, ace.FormatACE, append([]byte("taken "), r.Payload...))
}

func (i *inbox) first() *coapsec.Request {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.requests[0]
}

// count is how often a payload arrived.
func (i *inbox) count(payload string) (n int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, r := range i.requests {
		if bytes.Equal(r.Payload, []byte(payload)) {
			n++
		}
	}
	return n
}

func (i *inbox) all() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.requests)
}

// silence is an address where datagrams arrive and nobody answers. It counts them.
type silence struct {
	conn  *net.UDPConn
	mu    sync.Mutex
	heard [][]byte
}

func newSilence(t testing.TB) *silence {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s := &silence{conn: conn}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buf := make([]byte, 2048)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			s.mu.Lock()
			s.heard = append(s.heard, bytes.Clone(buf[:n]))
			s.mu.Unlock()
		}
	}()
	return s
}

func (s *silence) address() netip.AddrPort { return s.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

func (s *silence) datagrams() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heard
}
