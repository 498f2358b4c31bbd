package gatt

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/gatt"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

var _ coapsec.Exchanger = (*gatt.Central)(nil)

func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gatt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "radio")
}

// who answers with the address of the peer.
var who = coapsec.HandlerFunc(func(_ context.Context, request *coapsec.Request) message.Message {
	return message.Message{Code: codes.Content, Payload: []byte(request.Peer.Address)}
})

type closing struct {
	address string
	cause   error
}

// start serves until the test ends; what Closed hears comes out of the channel.
func start(t *testing.T, h coapsec.Handler, o Options) (path string, closed <-chan closing) {
	t.Helper()
	path = socketPath(t)
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan closing, 100)
	o.Closed = func(address string, cause error) { ended <- closing{address, cause} }
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, l, h, o) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket file stayed: %v", err)
		}
	})
	return path, ended
}

func dial(t *testing.T, path string) *gatt.Central {
	t.Helper()
	c, err := gatt.Dial(t.Context(), path, gatt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func ask(t *testing.T, c *gatt.Central) string {
	t.Helper()
	response, err := c.Exchange(t.Context(), message.Message{Code: codes.GET})
	if err != nil {
		t.Fatal(err)
	}
	return string(response.Payload)
}

func TestAddressesAreNeverUsedTwice(t *testing.T) {
	path, closed := start(t, who, Options{})
	first, second := dial(t, path), dial(t, path)
	if a, b := ask(t, first), ask(t, second); a != "gatt:1" || b != "gatt:2" {
		t.Errorf("got %q and %q", a, b)
	}
	first.Close()
	if got := <-closed; got != (closing{"gatt:1", nil}) {
		t.Errorf("closed %+v", got)
	}
	if got := ask(t, dial(t, path)); got != "gatt:3" {
		t.Errorf("after one left: %q", got)
	}
	if got := ask(t, second); got != "gatt:2" {
		t.Errorf("the second is now %q", got)
	}
}

func TestRequestArrivesUnprotectedAndWhole(t *testing.T) {
	got := make(chan coapsec.Request, 1)
	path, _ := start(t, coapsec.HandlerFunc(func(_ context.Context, request *coapsec.Request) message.Message {
		got <- *request
		return message.Message{Code: codes.Created}
	}), Options{})
	sent := message.Message{Code: codes.POST, Payload: make([]byte, 400), Options: message.Options{
		{ID: message.URIPath, Value: []byte("authz-info")}, {ID: message.ContentFormat, Value: []byte{19}}}}
	response, err := dial(t, path).Exchange(t.Context(), sent)
	if err != nil || response.Code != codes.Created {
		t.Fatal(response.Code, err)
	}
	request := <-got
	if p, ok := request.Path(); !ok || p != "/authz-info" || len(request.Payload) != 400 || request.Code != codes.POST {
		t.Errorf("got %v", &request.Message)
	}
	if request.Peer != (coapsec.Peer{Address: "gatt:1"}) {
		t.Errorf("peer %+v", request.Peer)
	}
}

func TestPanicConcernsOnlyItsRequest(t *testing.T) {
	var log bytes.Buffer
	panicking := coapsec.HandlerFunc(func(ctx context.Context, request *coapsec.Request) message.Message {
		if request.Code == codes.POST {
			panic("motor")
		}
		return who(ctx, request)
	})
	path, _ := start(t, panicking, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	c := dial(t, path)
	response, err := c.Exchange(t.Context(), message.Message{Code: codes.POST})
	if err != nil || response.Code != codes.InternalServerError || !strings.Contains(log.String(), "motor") {
		t.Errorf("got %v, %v, logged %q", response.Code, err, log.String())
	}
	if got := ask(t, c); got != "gatt:1" {
		t.Errorf("got %q", got)
	}
}

func TestNoMoreCentralsThanLinks(t *testing.T) {
	path, closed := start(t, who, Options{})
	var centrals []*gatt.Central
	for range DefaultLinks {
		centrals = append(centrals, dial(t, path))
	}
	if c, err := gatt.Dial(t.Context(), path, gatt.Options{}); !errors.Is(err, gatt.ErrClosed) {
		t.Fatalf("one central too many: %v, %v", c, err)
	}
	for _, c := range centrals {
		ask(t, c)
	}
	centrals[2].Close()
	<-closed
	if got := ask(t, dial(t, path)); got != "gatt:5" {
		t.Errorf("got %q, want the next address", got)
	}
}

func TestBrokenCentralCostsOnlyItsLink(t *testing.T) {
	path, closed := start(t, who, Options{Links: 2})
	good := dial(t, path)
	ask(t, good)
	for range 5 { // each takes the second link and gives it back
		bad, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		bad.Write([]byte{0xff, 0xff, 0xff})
		if got := <-closed; got.cause == nil {
			t.Errorf("%s left without a cause", got.address)
		}
		bad.Close()
		ask(t, good)
	}
}

// pipes is a listener whose links are in memory, for tests on synctest's time.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return nil }

// connect gives the central's end and a channel that closes when the peripheral hangs up.
func (p *pipes) connect() (net.Conn, <-chan struct{}) {
	near, far := net.Pipe()
	p.conns <- far
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		buf := make([]byte, 600)
		for {
			if _, err := near.Read(buf); err != nil {
				return
			}
		}
	}()
	return near, gone
}

func isClosed(c <-chan struct{}) bool {
	synctest.Wait()
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestIdleLinkGoesToANewcomer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		release := make(chan struct{})
		slow := coapsec.HandlerFunc(func(context.Context, *coapsec.Request) message.Message {
			<-release
			return message.Message{}
		})
		closed := make(chan closing, 10)
		go func() {
			served <- Serve(ctx, l, slow, Options{Links: 2, Closed: func(a string, err error) { closed <- closing{a, err} }})
		}()
		busy, busyGone := l.connect()
		busy.Write([]byte{5, 0, 0x52, 3, 0, 0x00, 0x01}) // a request that is still being handled
		_, idleGone := l.connect()

		time.Sleep(IdleLink - time.Nanosecond)
		if _, gone := l.connect(); !isClosed(gone) || isClosed(idleGone) {
			t.Error("a link was given away too early")
		}
		time.Sleep(time.Nanosecond)
		if _, gone := l.connect(); isClosed(gone) || !isClosed(idleGone) || isClosed(busyGone) {
			t.Error("the idle link was not given to the newcomer")
		}
		if got := <-closed; got != (closing{"gatt:2", errIdle}) {
			t.Errorf("closed %+v, want gatt:2 for being idle", got)
		}
		close(release)
		cancel()
		if err := <-served; err != nil || !isClosed(busyGone) {
			t.Errorf("Serve: %v", err)
		}
	})
}

func TestServeEndsWithItsListener(t *testing.T) {
	l := newPipes()
	l.Close()
	if err := Serve(t.Context(), l, who, Options{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want the listener's error", err)
	}
}

func TestListenIsPrivate(t *testing.T) {
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	path := socketPath(t)
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestListenReplacesOnlyWhatIsDead(t *testing.T) {
	t.Run("socket left by a killed process", func(t *testing.T) {
		path := socketPath(t)
		dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		dead.SetUnlinkOnClose(false)
		dead.Close()
		l, err := Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
	})
	t.Run("socket that answers", func(t *testing.T) {
		path := socketPath(t)
		alive, err := Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		defer alive.Close()
		if _, err := Listen(path); !errors.Is(err, errInUse) {
			t.Errorf("got %v, want %v", err, errInUse)
		}
		if _, err := os.Lstat(path); err != nil {
			t.Error("the living socket was removed")
		}
	})
	t.Run("regular file", func(t *testing.T) {
		path := socketPath(t)
		if err := os.WriteFile(path, []byte("a diary"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Listen(path); !errors.Is(err, errNotSocket) {
			t.Errorf("got %v, want %v", err, errNotSocket)
		}
		if got, _ := os.ReadFile(path); string(got) != "a diary" {
			t.Error("the file was removed")
		}
	})
	t.Run("link to a file", func(t *testing.T) {
		path := socketPath(t)
		if err := os.Symlink("/dev/null", path); err != nil {
			t.Fatal(err)
		}
		if _, err := Listen(path); !errors.Is(err, errNotSocket) {
			t.Errorf("got %v, want %v", err, errNotSocket)
		}
	})
	for _, path := range []string{"", "@abstract"} {
		if _, err := Listen(path); !errors.Is(err, errSocketPath) {
			t.Errorf("%q: got %v, want %v", path, err, errSocketPath)
		}
	}
}
