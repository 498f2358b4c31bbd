package gocoap_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/coapsec/gocoap"
	"github.com/latchkey-ace/latchkey/pop/oscore"
	piondtls "github.com/pion/dtls/v3"
	"github.com/plgd-dev/go-coap/v3/dtls"
	dtlsserver "github.com/plgd-dev/go-coap/v3/dtls/server"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/message/pool"
	"github.com/plgd-dev/go-coap/v3/mux"
	coapnet "github.com/plgd-dev/go-coap/v3/net"
	"github.com/plgd-dev/go-coap/v3/options"
	"github.com/plgd-dev/go-coap/v3/tcp"
	tcpserver "github.com/plgd-dev/go-coap/v3/tcp/server"
	"github.com/plgd-dev/go-coap/v3/udp"
	udpserver "github.com/plgd-dev/go-coap/v3/udp/server"
)

var secret = []byte("sixteen secret b")

// keys are a client's and a server's ends of one context.
func keys(t testing.TB, secret []byte) (client, server *oscore.Context) {
	t.Helper()
	client, err := oscore.New(oscore.Params{MasterSecret: secret, SenderID: []byte{1}, RecipientID: []byte{2}}, oscore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if server, err = oscore.New(oscore.Params{MasterSecret: secret, SenderID: []byte{2}, RecipientID: []byte{1}}, oscore.Options{}); err != nil {
		t.Fatal(err)
	}
	return client, server
}

// one finds one context.
type one struct{ *oscore.Context }

func (o one) Find(kid, _ []byte, _ bool) (coapsec.Association, bool) {
	return coapsec.Static(o.Context), bytes.Equal(kid, []byte{1})
}

// router is what a user of go-coap has.
func router(t testing.TB) *mux.Router {
	t.Helper()
	r := mux.NewRouter()
	handle := func(path string, h mux.HandlerFunc) {
		if err := r.Handle(path, h); err != nil {
			t.Fatal(err)
		}
	}
	handle("/hello/{name}", func(w mux.ResponseWriter, r *mux.Message) {
		peer, _ := gocoap.Peer(r.Context())
		if peer.Context == nil || w.Conn().RemoteAddr().String() != peer.Address {
			_ = w.SetResponse(codes.Forbidden, message.TextPlain, nil)
			return
		}
		_ = w.SetResponse(codes.Content, message.TextPlain, strings.NewReader("hello "+r.RouteParams.Vars["name"]))
	})
	handle("/echo", func(w mux.ResponseWriter, r *mux.Message) {
		body, err := r.ReadBody()
		if err != nil {
			_ = w.SetResponse(codes.BadRequest, message.TextPlain, nil)
			return
		}
		_ = w.SetResponse(codes.Changed, message.AppOctets, bytes.NewReader(body))
	})
	handle("/panic", func(mux.ResponseWriter, *mux.Message) { panic("on purpose") })
	handle("/silent", func(mux.ResponseWriter, *mux.Message) {})
	return r
}

func security(t testing.TB, c *oscore.Context) *coapsec.Security {
	stranger := coapsec.HandlerFunc(func(context.Context, *coapsec.Request) message.Message {
		return message.Message{Code: codes.Unauthorized}
	})
	protected := coapsec.Blockwise(gocoap.Handler(router(t)), coapsec.BlockwiseOptions{})
	return coapsec.NewSecurity(one{c}, stranger, protected, coapsec.SecurityOptions{})
}

// network is one way between a client and a server.
type network struct {
	name  string
	start func(t testing.TB, h *coapsec.Security) (address string)
	dial  func(t testing.TB, address string) mux.Conn
}

var networks = []network{
	{"endpoint", startEndpoint, dialUDP},
	{"udp", startUDP, dialUDP},
	{"dtls", startDTLS, dialDTLS},
	{"tcp", startTCP, dialTCP},
}

func startEndpoint(t testing.TB, h *coapsec.Security) string {
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := coapsec.NewEndpoint(conn, h, coapsec.EndpointOptions{Log: slog.New(slog.DiscardHandler)})
	running(t, func() error { return e.Serve(context.Background()) }, func() { _ = e.Close() })
	return e.LocalAddr().String()
}

var quiet = options.WithErrors(func(error) {})

func startUDP(t testing.TB, h *coapsec.Security) string {
	l, err := coapnet.NewListenUDP("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := udp.NewServer(whole[udpserver.Option](options.WithMux(gocoap.Serve(h)))...)
	running(t, func() error { return s.Serve(l) }, func() { s.Stop(); _ = l.Close() })
	return l.LocalAddr().String()
}

func startDTLS(t testing.TB, h *coapsec.Security) string {
	l, err := coapnet.NewDTLSListener("udp4", "127.0.0.1:0", coapnet.NewDTLSServerOptions(each[piondtls.ServerOption](shared())...))
	if err != nil {
		t.Fatal(err)
	}
	s := dtls.NewServer(whole[dtlsserver.Option](options.WithMux(gocoap.Serve(h)))...)
	running(t, func() error { return s.Serve(l) }, func() { s.Stop(); _ = l.Close() })
	return l.Addr().String()
}

func startTCP(t testing.TB, h *coapsec.Security) string {
	l, err := coapnet.NewTCPListener("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := tcp.NewServer(whole[tcpserver.Option](options.WithMux(gocoap.Serve(h)))...)
	running(t, func() error { return s.Serve(l) }, func() { s.Stop(); _ = l.Close() })
	return l.Addr().String()
}

// whole turns off what cuts messages below the protection.
func whole[O any](o any) []O {
	return []O{o.(O), any(options.WithBlockwise(false, 0, 0)).(O), any(quiet).(O)}
}

// shared is how both ends prove themselves to DTLS.
func shared() []piondtls.Option {
	return []piondtls.Option{
		piondtls.WithPSK(func([]byte) ([]byte, error) { return secret, nil }),
		piondtls.WithPSKIdentityHint([]byte("phone")),
		piondtls.WithCipherSuites(piondtls.TLS_PSK_WITH_AES_128_CCM_8),
	}
}

func each[O any](all []piondtls.Option) (as []O) {
	for _, o := range all {
		as = append(as, any(o).(O))
	}
	return as
}

func dialUDP(t testing.TB, address string) mux.Conn {
	c, err := udp.Dial(address, options.WithBlockwise(false, 0, 0), quiet)
	return dialled(t, c, err)
}

func dialDTLS(t testing.TB, address string) mux.Conn {
	c, err := dtls.Dial(address, dtls.NewDTLSClientOptions(each[piondtls.ClientOption](shared())...), options.WithBlockwise(false, 0, 0), quiet)
	return dialled(t, c, err)
}

func dialTCP(t testing.TB, address string) mux.Conn {
	c, err := tcp.Dial(address, options.WithBlockwise(false, 0, 0), quiet)
	return dialled(t, c, err)
}

func dialled(t testing.TB, c mux.Conn, err error) mux.Conn {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// running serves until the test ends, and does not leave before.
func running(t testing.TB, serve func() error, stop func()) {
	done := make(chan error, 1)
	go func() { done <- serve() }()
	t.Cleanup(func() {
		stop()
		<-done
	})
}

func on(t *testing.T, test func(t *testing.T, x coapsec.Exchanger, client *oscore.Context)) {
	for _, n := range networks {
		t.Run(n.name, func(t *testing.T) {
			client, server := keys(t, secret)
			test(t, gocoap.Client(n.dial(t, n.start(t, security(t, server)))), client)
		})
	}
}

func ask(t testing.TB, x coapsec.Exchanger, m message.Message) message.Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	response, err := x.Exchange(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

var hello = coapsec.NewRequest(codes.GET, "/hello/world", coapsec.NoFormat, nil)

func TestRouterUnderOSCORE(t *testing.T) {
	on(t, func(t *testing.T, x coapsec.Exchanger, c *oscore.Context) {
		if got := ask(t, coapsec.Secure(x, c), hello); got.Code != codes.Content || string(got.Payload) != "hello world" {
			t.Errorf("got %v %q", got.Code, got.Payload)
		}
		if got := ask(t, coapsec.Secure(x, c), coapsec.NewRequest(codes.GET, "/nowhere", coapsec.NoFormat, nil)); got.Code != codes.NotFound {
			t.Errorf("another path: got %v", got.Code)
		}
		if got := ask(t, x, hello); got.Code != codes.Unauthorized {
			t.Errorf("unprotected: got %v", got.Code)
		}
	})
}

// TestTwoBodies sends and gets what no datagram holds.
func TestTwoBodies(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789"), 300)
	on(t, func(t *testing.T, x coapsec.Exchanger, c *oscore.Context) {
		blocks := coapsec.Blocks(coapsec.Secure(x, c), coapsec.BlocksOptions{})
		if got := ask(t, blocks, coapsec.NewRequest(codes.POST, "/echo", message.AppOctets, body)); got.Code != codes.Changed || !bytes.Equal(got.Payload, body) {
			t.Errorf("got %v, %d bytes", got.Code, len(got.Payload))
		}
	})
}

// overheard keeps what goes out.
type overheard struct {
	coapsec.Exchanger
	last message.Message
}

func (o *overheard) Exchange(ctx context.Context, m message.Message) (message.Message, error) {
	o.last = m
	return o.Exchanger.Exchange(ctx, m)
}

func TestWhoHasNotTheKey(t *testing.T) {
	on(t, func(t *testing.T, x coapsec.Exchanger, c *oscore.Context) {
		other, _ := keys(t, []byte("another secret b"))
		_, err := coapsec.Secure(x, other).Exchange(t.Context(), hello)
		if refused := new(coapsec.UnprotectedError); !errors.As(err, &refused) || refused.Code != codes.BadRequest {
			t.Errorf("with another key: got %v", err)
		}
		tape := &overheard{Exchanger: x}
		if got := ask(t, coapsec.Secure(tape, c), hello); got.Code != codes.Content {
			t.Fatalf("got %v", got.Code)
		}
		if got := ask(t, x, tape.last); got.Code != codes.Unauthorized || string(got.Payload) != "Replay detected" {
			t.Errorf("played again: got %v %q", got.Code, got.Payload)
		}
	})
}

func TestPanicCostsOneRequest(t *testing.T) {
	on(t, func(t *testing.T, x coapsec.Exchanger, c *oscore.Context) {
		for _, path := range []string{"/panic", "/silent"} {
			response, err := coapsec.Secure(x, c).Exchange(t.Context(), coapsec.NewRequest(codes.GET, path, coapsec.NoFormat, nil))
			if refused := new(coapsec.UnprotectedError); response.Code != codes.InternalServerError && (!errors.As(err, &refused) || refused.Code != codes.InternalServerError) {
				t.Errorf("%s: got %v, %v", path, response.Code, err)
			}
		}
		if got := ask(t, coapsec.Secure(x, c), hello); got.Code != codes.Content {
			t.Errorf("the next request: got %v", got.Code)
		}
	})
}

func TestManyAtOnce(t *testing.T) {
	on(t, func(t *testing.T, x coapsec.Exchanger, c *oscore.Context) {
		secured := coapsec.Secure(x, c)
		var all sync.WaitGroup
		for i := range 32 {
			all.Go(func() {
				body := bytes.Repeat([]byte{byte(i)}, 100+i)
				response, err := secured.Exchange(t.Context(), coapsec.NewRequest(codes.POST, "/echo", message.AppOctets, body))
				if err != nil || !bytes.Equal(response.Payload, body) {
					t.Errorf("request %d: got %v, %d bytes", i, err, len(response.Payload))
				}
			})
		}
		all.Wait()
	})
}

func TestClientGivesUp(t *testing.T) {
	silent, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	x := gocoap.Client(dialUDP(t, silent.LocalAddr().String()))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := x.Exchange(ctx, hello); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if _, err := x.Exchange(ctx, hello); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("asked too late: got %v", err)
	}
}

// TestNotifications has a handler of go-coap notify as it does there, through our endpoint.
func TestNotifications(t *testing.T) {
	ours, theirs := keys(t, secret)
	watchers := make(chan mux.Conn, 1)
	var token message.Token
	r := mux.NewRouter()
	r.HandleFunc("/door", func(w mux.ResponseWriter, r *mux.Message) {
		if observe, err := r.Observe(); err != nil || observe != 0 {
			_ = w.SetResponse(codes.Content, message.TextPlain, strings.NewReader("not watched"))
			return
		}
		_ = w.SetResponse(codes.Content, message.TextPlain, strings.NewReader("locked"))
		w.Message().SetObserve(1)
		token = r.Token()
		watchers <- w.Conn()
	})
	s := coapsec.NewSecurity(one{theirs}, gocoap.Handler(r), gocoap.Handler(r), coapsec.SecurityOptions{})
	address := startEndpoint(t, s)
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	phone := coapsec.NewEndpoint(conn, nil, coapsec.EndpointOptions{})
	running(t, func() error { return phone.Serve(context.Background()) }, func() { _ = phone.Close() })
	observer := coapsec.Secure(phone.To(addrPort(t, address)), ours).(coapsec.Observer)

	seen := make(chan string, 8)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	over := make(chan error, 1)
	go func() {
		over <- observer.Observe(ctx, coapsec.NewRequest(codes.GET, "/door", coapsec.NoFormat, nil), func(m message.Message) error {
			seen <- string(m.Payload)
			return nil
		})
	}()
	if got := <-seen; got != "locked" {
		t.Fatalf("got %q", got)
	}
	watcher := <-watchers
	tell := func(token message.Token, code codes.Code, text string) error {
		m := watcher.AcquireMessage(ctx)
		defer watcher.ReleaseMessage(m)
		m.SetCode(code)
		m.SetToken(token)
		m.SetObserve(2)
		m.SetBody(strings.NewReader(text))
		return watcher.WriteMessage(m)
	}
	if err := tell(message.Token("another"), codes.Content, "for somebody else"); !errors.Is(err, gocoap.ErrOnlyAnswers) {
		t.Errorf("with another token: got %v", err)
	}
	if err := tell(token, codes.Content, "open"); err != nil {
		t.Fatal(err)
	}
	if got := <-seen; got != "open" {
		t.Errorf("got %q", got)
	}
	closed := make(chan struct{})
	watcher.AddOnClose(func() { close(closed) })
	if err := tell(token, codes.NotFound, ""); err != nil {
		t.Fatal(err)
	}
	if err := <-over; err != nil {
		t.Errorf("the end: got %v", err)
	}
	<-closed
	if _, err := watcher.Do(pool.NewMessage(ctx)); !errors.Is(err, gocoap.ErrOnlyAnswers) {
		t.Errorf("a request through it: got %v", err)
	}
}

// TestObserveIsNotPromised: go-coap's transports cannot notify.
func TestObserveIsNotPromised(t *testing.T) {
	h := gocoap.Handler(mux.HandlerFunc(func(w mux.ResponseWriter, _ *mux.Message) {
		_ = w.SetResponse(codes.Content, message.TextPlain, strings.NewReader("locked"))
		w.Message().SetObserve(1)
		if err := w.Conn().WriteMessage(w.Message()); !errors.Is(err, gocoap.ErrOnlyAnswers) {
			t.Errorf("notified nobody: got %v", err)
		}
	}))
	got := h.ServeCoAP(t.Context(), &coapsec.Request{Message: hello})
	if got.Code != codes.Content || got.Options.HasOption(message.Observe) {
		t.Errorf("got %v %v", got.Code, got.Options)
	}
}

// TestLongBody: a handler may promise more than a message holds.
func TestLongBody(t *testing.T) {
	h := gocoap.Handler(mux.HandlerFunc(func(w mux.ResponseWriter, _ *mux.Message) {
		_ = w.SetResponse(codes.Content, message.AppOctets, io.NewSectionReader(bytes.NewReader(make([]byte, 1<<17)), 0, 1<<17))
	}))
	if got := h.ServeCoAP(t.Context(), &coapsec.Request{Message: hello}); got.Code != codes.InternalServerError || len(got.Payload) > 0 {
		t.Errorf("got %v, %d bytes", got.Code, len(got.Payload))
	}
}

func addrPort(t testing.TB, address string) netip.AddrPort {
	t.Helper()
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func contexts() (client, server *oscore.Context) {
	client, _ = oscore.New(oscore.Params{MasterSecret: secret, SenderID: []byte{1}, RecipientID: []byte{2}}, oscore.Options{})
	server, _ = oscore.New(oscore.Params{MasterSecret: secret, SenderID: []byte{2}, RecipientID: []byte{1}}, oscore.Options{})
	return client, server
}
