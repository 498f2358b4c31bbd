package coapapi_test

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/coapapi"
	"github.com/latchkey-ace/latchkey/authz/delivery"
	"github.com/latchkey-ace/latchkey/authz/delivery/deliverytest"
	"github.com/latchkey-ace/latchkey/authz/grant"
	"github.com/latchkey-ace/latchkey/authz/throttle"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/storage"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

const secret = "a secret of the gateway with more than 256 random bits"

// world is a whole server on loopback with one lock, which has not registered yet, and one client with a grant on it.
type world struct {
	t        testing.TB
	path     string
	store    authz.Store
	server   *authz.Server
	engine   *delivery.Engine
	face     *coapsec.Security
	endpoint *coapsec.Endpoint
	tape     *deliverytest.Tape
	lock     *deliverytest.Device
	record   authz.Device
	client   authz.Client
	grant    authz.Grant

	limits map[throttle.Kind]throttle.Rule

	mu    sync.Mutex
	ahead time.Duration // of the true time
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, path: filepath.Join(t.TempDir(), "db"), tape: &deliverytest.Tape{}}
	t.Cleanup(func() { _ = w.store.Close() }) // after the sockets
	w.start("")
	w.client = w.addClient("gateway")
	w.record, w.grant = w.addDevice(deliverytest.Record("front-door"))
	w.lock = deliverytest.Start(t, w.record, coapsec.HandlerFunc(takes))
	return w
}

// takes is a lock that takes every token, and whose log is empty.
func takes(_ context.Context, r *coapsec.Request) message.Message {
	if r.Code == codes.GET {
		return coapsec.Content(codes.Content, ace.FormatCBOR, []byte{0x80})
	}
	payload, err := ace.AuthzInfoAnswer{Nonce2: []byte("nonce002"), ServerRecipientID: []byte{2}}.Encode()
	if err != nil {
		return message.Message{Code: codes.InternalServerError}
	}
	return coapsec.Content(codes.Created, ace.FormatACE, payload)
}

// start is a new server process on the same database.
func (w *world) start(address string) {
	w.t.Helper()
	var err error
	if w.store, err = storage.Open(w.t.Context(), "sqlite:"+w.path, storage.Options{Key: storage.StoreKey{1}}); err != nil {
		w.t.Fatal(err)
	}
	w.serve(address, w.store)
}

// serve puts a server above a store.
func (w *world) serve(address string, store authz.Store) {
	w.t.Helper()
	var err error
	if w.server, err = authz.New(w.t.Context(), "http://localhost:8080", store, grant.New(rand.Reader), authz.Options{Now: w.now, Limits: w.limits}); err != nil {
		w.t.Fatal(err)
	}
	w.engine = delivery.New(store, delivery.Options{Now: w.now})
	w.server.SetDeliverer(w.engine)
	w.face = coapapi.New(w.server, w.engine, slog.New(slog.DiscardHandler))
	w.endpoint = deliverytest.Socket(w.t, w.face, address, coapsec.EndpointOptions{Tap: w.tape.Tap})
	w.engine.Use(w.endpoint)
}

// restart ends the server process and starts the next one at the same address.
func (w *world) restart() {
	w.t.Helper()
	address := w.endpoint.LocalAddr().String()
	_ = w.endpoint.Close()
	_ = w.store.Close()
	w.start(address)
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

// addClient registers a client that may do everything, over CoAP by its channel and over HTTP by its secret.
func (w *world) addClient(id string) authz.Client {
	w.t.Helper()
	c := authz.Client{
		ID: id, AuthMethod: authz.AuthSecretBasic, SecretHash: authz.HashSecret(secret), ClientMadeKeys: true,
		RedirectURIs: []string{"https://gateway.example/done"}, GrantTypes: []string{authz.AuthorizationCode, authz.ClientCredentials},
		Channel: &authz.Channel{MasterSecret: make([]byte, 16), MasterSalt: make([]byte, 8), PeerID: make([]byte, 5), ServerID: []byte{1}},
	}
	for _, b := range [][]byte{c.Channel.MasterSecret, c.Channel.MasterSalt, c.Channel.PeerID} {
		_, _ = rand.Read(b)
	}
	if err := w.store.AddClient(w.t.Context(), c); err != nil {
		w.t.Fatal(err)
	}
	return c
}

// addDevice registers a device and lets the client unlock and look, for a day.
func (w *world) addDevice(d authz.Device) (authz.Device, authz.Grant) {
	w.t.Helper()
	if err := w.store.AddUser(w.t.Context(), authz.User{Name: "alice"}); err != nil && !errors.Is(err, authz.ErrExists) {
		w.t.Fatal(err)
	}
	if err := w.store.AddDevice(w.t.Context(), d); err != nil {
		w.t.Fatal(err)
	}
	rights, _ := d.ParseRights([]string{"unlock", "view"})
	g, err := w.server.Give(w.t.Context(), authz.Grant{
		Owner: "alice", To: authz.Subject{Client: w.client.ID}, Device: d.ID, Rights: rights, Until: w.now().Add(24 * time.Hour),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return d, g
}

// shaped is the record of a device that takes tokens of a shape, and its private key.
func shaped(t testing.TB, shape provision.Shape) (authz.Device, *ecdh.PrivateKey) {
	t.Helper()
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	d := deliverytest.Record(shape.String())
	d.Shape = shape
	if shape.NeedsPrivateKey() {
		d.PublicKey = key.PublicKey().Bytes()
	}
	return d, key
}

// tokens counts the token rows of all devices.
func (w *world) tokens() (n int) {
	w.t.Helper()
	devices, err := w.store.Devices(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, d := range devices {
		rows, err := w.store.TokensOf(w.t.Context(), d.ID, w.now())
		if err != nil {
			w.t.Fatal(err)
		}
		n += len(rows)
	}
	return n
}

// caller is a client on its own socket.
type caller struct {
	w        *world
	channel  *coapsec.Channel
	endpoint *coapsec.Endpoint
}

func (w *world) caller(c authz.Client) *caller {
	w.t.Helper()
	return &caller{w: w, channel: deliverytest.Peer(*c.Channel), endpoint: deliverytest.Socket(w.t, nil, "", coapsec.EndpointOptions{})}
}

func (c *caller) address() netip.AddrPort { return c.endpoint.LocalAddr() }

// plain sends a request without protection.
func (c *caller) plain(request message.Message) message.Message {
	c.w.t.Helper()
	answer, err := c.endpoint.To(c.w.endpoint.LocalAddr()).Exchange(c.w.t.Context(), request)
	if err != nil {
		c.w.t.Fatal(err)
	}
	return answer
}

// ask sends a request over the channel.
func (c *caller) ask(request message.Message) message.Message {
	c.w.t.Helper()
	answer, err := c.channel.Exchange(c.w.t.Context(), c.endpoint.To(c.w.endpoint.LocalAddr()), request)
	if err != nil {
		c.w.t.Fatal(err)
	}
	return answer
}

func tokenRequest(payload []byte) message.Message {
	return coapsec.NewRequest(codes.POST, ace.PathToken, ace.FormatACE, payload)
}

// encoded is a token request in CBOR.
func encoded(t testing.TB, in ace.TokenRequest) []byte {
	t.Helper()
	if in.GrantType == "" {
		in.GrantType = ace.GrantClientCredentials
	}
	payload, err := in.CBOR()
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

// granted asks for a token and wants it.
func (c *caller) granted(in ace.TokenRequest) *ace.TokenResponse {
	c.w.t.Helper()
	answer := c.ask(tokenRequest(encoded(c.w.t, in)))
	format, err := answer.Options.ContentFormat()
	if answer.Code != codes.Created || err != nil || format != ace.FormatACE {
		c.w.t.Fatalf("got %v in format %v: %s", answer.Code, format, coapsec.Describe(answer))
	}
	out, err := ace.ParseTokenResponseCBOR(answer.Payload)
	if err != nil {
		c.w.t.Fatal(err)
	}
	return out
}

// refusedWith checks an error answer: its code and its number in CBOR (RFC 9200 §5.8.3).
func refusedWith(t testing.TB, answer message.Message, code codes.Code, want ace.ErrorCode) {
	t.Helper()
	format, err := answer.Options.ContentFormat()
	if answer.Code != code || err != nil || format != ace.FormatACE {
		t.Errorf("got %v in format %v, want %v in %v", answer.Code, format, code, ace.FormatACE)
		return
	}
	refused, err := ace.ParseErrorCBOR(answer.Payload)
	if err != nil || refused.Code != want {
		t.Errorf("got %v, %v, want %v", refused, err, want)
	}
}
