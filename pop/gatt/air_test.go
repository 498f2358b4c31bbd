package gatt

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// socketPath is short enough for a unix socket whatever the test is called.
func socketPath(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "air")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// peripheral serves links on a unix socket until the test ends. Why each link ended comes out of ended.
type peripheral struct {
	path  string
	ended chan error
}

func startPeripheral(t testing.TB, handle Handle, o Options) *peripheral {
	t.Helper()
	p := &peripheral{path: socketPath(t), ended: make(chan error, 1000)}
	l, err := net.Listen("unix", p.path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var links sync.WaitGroup
	links.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			links.Go(func() { p.ended <- ServeLink(ctx, conn, handle, o) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		cancel()
		links.Wait()
	})
	return p
}

func (p *peripheral) wait(t testing.TB) error {
	t.Helper()
	select {
	case err := <-p.ended:
		return err
	case <-time.After(10 * time.Second):
		t.Fatal("the peripheral's end of the link did not end")
		return nil
	}
}

// fate is what the air does with one PDU.
type fate int

const (
	pass fate = iota
	lose
	twice
	cut     // the link breaks instead
	cutHalf // the link breaks in the middle of the PDU
)

// air stands between one central and a peripheral. It forwards PDU by PDU, decides the fate of each, and notes those that
// are longer than the MTU the ends have agreed on.
type air struct {
	path   string
	decide func(n int, direction string, pdu []byte) fate

	mu      sync.Mutex
	offered int
	mtu     int
	count   int // PDUs so far, both directions
	tooLong []int
}

func startAir(t testing.TB, to string, decide func(n int, direction string, pdu []byte) fate) *air {
	t.Helper()
	a := &air{path: socketPath(t), decide: decide, mtu: DefaultMTU}
	l, err := net.Listen("unix", a.path)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			central, err := l.Accept()
			if err != nil {
				return
			}
			device, err := net.Dial("unix", to)
			if err != nil {
				central.Close()
				continue
			}
			running.Go(func() { a.carry(Downstream, central, device) })
			running.Go(func() { a.carry(Upstream, device, central) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		running.Wait()
		for _, size := range a.tooLong {
			t.Errorf("a pdu of %d bytes, mtu %d", size, a.mtu)
		}
	})
	return a
}

func (a *air) carry(direction string, from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	for {
		var prefix [2]byte
		if _, err := io.ReadFull(from, prefix[:]); err != nil {
			return
		}
		pdu := make([]byte, binary.LittleEndian.Uint16(prefix[:]))
		if _, err := io.ReadFull(from, pdu); err != nil {
			return
		}
		packet := append(prefix[:], pdu...)
		switch a.look(direction, pdu) {
		case pass:
			to.Write(packet)
		case twice:
			to.Write(append(packet, packet...))
		case cutHalf:
			to.Write(packet[:len(packet)-1])
			return
		case cut:
			return
		}
	}
}

func (a *air) look(direction string, pdu []byte) fate {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(pdu) > a.mtu {
		a.tooLong = append(a.tooLong, len(pdu))
	}
	switch pdu[0] {
	case opMTURequest:
		a.offered = field(pdu, 1)
	case opMTUResponse:
		a.mtu = min(a.offered, field(pdu, 1))
	}
	n := a.count
	a.count++
	if a.decide == nil {
		return pass
	}
	return a.decide(n, direction, pdu)
}

func (a *air) total() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.count
}

func dial(t testing.TB, path string, o Options) *Central {
	t.Helper()
	c, err := Dial(t.Context(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// echo answers with the payload and the options it was asked with.
func echo(_ context.Context, request message.Message) message.Message {
	return message.Message{Code: codes.Content, Options: request.Options, Payload: request.Payload}
}

func post(payload []byte) message.Message {
	return message.Message{Code: codes.POST, Payload: payload, Options: message.Options{
		{ID: message.URIPath, Value: []byte("authz-info")}, {ID: message.ContentFormat, Value: []byte{19}}}}
}

// numbered is n bytes in which no two parts of one PDU are alike.
func numbered(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i/251)
	}
	return b
}

// mustEcho makes one exchange and compares the answer.
func mustEcho(t testing.TB, c *Central, payload []byte) {
	t.Helper()
	if err := tryEcho(t.Context(), c, payload); err != nil {
		t.Fatal(err)
	}
}

var errOtherAnswer = errors.New("another answer than the request's echo")

func tryEcho(ctx context.Context, c *Central, payload []byte) error {
	request := post(payload)
	response, err := c.Exchange(ctx, request)
	if err != nil {
		return err
	}
	want := message.Message{Code: codes.Content, Token: response.Token, Options: request.Options, Payload: payload}
	if !same(response, want) {
		return errOtherAnswer
	}
	return nil
}
