package coapapi_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/client"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/cwt"
	"github.com/latchkey-ace/latchkey/pop/news"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/resource"
	"github.com/latchkey-ace/latchkey/resource/coapapi"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// authorization is the server's end of a lock's channel: it answers registrations and can push.
type authorization struct {
	t        *testing.T
	door     *door
	endpoint *coapsec.Endpoint
	channel  *coapsec.Channel

	mu        sync.Mutex
	address   string // where the lock registered from
	last      ace.Register
	epoch     uint64
	now       time.Time
	registers int
}

func newAuthorization(t *testing.T, d *door) *authorization {
	t.Helper()
	a := &authorization{t: t, door: d, now: time.Now().Truncate(time.Second)}
	a.restart()
	security := coapsec.NewSecurity(a, coapsec.HandlerFunc(a.serve), coapsec.HandlerFunc(a.serve), coapsec.SecurityOptions{})
	a.endpoint = socket(t, security)
	return a
}

// restart loses the channel's context, as a new process does.
func (a *authorization) restart() {
	a.t.Helper()
	params, err := provision.ServerChannelParams(a.door.device.RootKey[:], a.door.device.ID, a.door.device.SenderID, a.door.device.RecipientID)
	if err != nil {
		a.t.Fatal(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.channel = coapsec.NewChannel(params, coapsec.ChannelOptions{})
}

func (a *authorization) Find(kid, _ []byte, _ bool) (coapsec.Association, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.channel, bytes.Equal(kid, a.door.device.SenderID)
}

func (a *authorization) serve(_ context.Context, r *coapsec.Request) message.Message {
	path, _ := r.Path()
	register, err := ace.ParseRegister(r.Payload)
	if r.Peer.Context == nil || path != ace.PathRegister || err != nil {
		return message.Message{Code: codes.BadRequest}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.registers++
	a.address, a.last = r.Peer.Address, register
	payload, err := ace.RegisterAnswer{Lifetime: register.Lifetime, Time: a.now, Epoch: a.epoch}.Encode()
	if err != nil {
		return message.Message{Code: codes.InternalServerError}
	}
	return coapsec.Content(codes.Changed, ace.FormatCBOR, payload)
}

// registered is what the lock said last, from where, and how often it did.
func (a *authorization) registered() (ace.Register, string, int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last, a.address, a.registers
}

// push sends a request to where the lock registered from.
func (a *authorization) push(request message.Message, want codes.Code) message.Message {
	a.t.Helper()
	a.mu.Lock()
	to, channel := netip.MustParseAddrPort(a.address), a.channel
	a.mu.Unlock()
	response, err := channel.Exchange(context.Background(), a.endpoint.To(to), request)
	if err != nil || response.Code != want {
		a.t.Fatalf("push: got %v, %v, want %v", response.Code, err, want)
	}
	return response
}

func (a *authorization) news(sequence uint64, items ...news.Item) []byte {
	a.t.Helper()
	key, err := a.door.device.SymmetricKey(provision.PurposeNewsDown, provision.FirstKeyID)
	if err != nil {
		a.t.Fatal(err)
	}
	sealed, err := news.Seal(news.News{Sequence: sequence, IssuedAt: a.now, Items: items}, key, rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	return sealed
}

// neighbourhood is a lock and its server, each on a socket of loopback, the lock registered.
func neighbourhood(t *testing.T) (*door, *authorization, *coapsec.Endpoint, *coapapi.Registrar) {
	t.Helper()
	d := newDoor(t)
	a := newAuthorization(t, d)
	e := socket(t, d.security)
	r := &coapapi.Registrar{
		Server: d.server, Channel: d.channel, Peers: []coapsec.Exchanger{e.To(a.endpoint.LocalAddr())},
		URIs: func() []string { return []string{"coap://" + e.LocalAddr().String()} },
	}
	if _, err := r.Register(context.Background()); err != nil {
		t.Fatal(err)
	}
	return d, a, e, r
}

// TestParentsAtTheDoor is the door lock's story on real sockets: the server pushes a token, the phone unlocks once, a
// second time it is told so, the owner reads the log and takes the key away.
func TestParentsAtTheDoor(t *testing.T) {
	d, a, lock, _ := neighbourhood(t)
	if last, address, _ := a.registered(); address != lock.LocalAddr().String() || len(last.LocalURIs) != 1 {
		t.Errorf("registered %q %+v, want the serving socket", address, last)
	}
	c := d.claims()
	c.Grant.Once = []uint{1}
	token := d.seal(c)
	in := upload(token)
	first := a.push(uploadRequest(t, in), codes.Created)
	again := a.push(uploadRequest(t, in), codes.Created)
	if !bytes.Equal(first.Payload, again.Payload) {
		t.Error("a retry of the upload made another context")
	}
	phone := coapsec.Secure(socket(t, nil).To(lock.LocalAddr()), contextOf(t, c, in, first.Payload))
	wants(t, phone, unlock, codes.Changed)
	wants(t, phone, unlock, codes.Forbidden)
	wants(t, phone, coapsec.NewRequest(codes.GET, "/door", coapsec.NoFormat, nil), codes.Content)
	d.wantOpened(1)

	entries, err := news.ParseEntries(a.push(coapsec.NewRequest(codes.GET, "/lk/log", coapsec.NoFormat, nil), codes.Content).Payload)
	if err != nil || len(entries) != 3 {
		t.Fatalf("log: got %+v, %v, want acceptance, unlock and refusal", entries, err)
	}
	if e := entries[1]; e.Action != 0 || e.Result != news.ResultDone || e.Grant != c.Grant.Grant {
		t.Errorf("got %+v, want the unlock", e)
	}
	query := with(coapsec.NewRequest(codes.GET, "/lk/log", coapsec.NoFormat, nil), message.URIQuery, "after=2")
	if rest, err := news.ParseEntries(a.push(query, codes.Content).Payload); err != nil || len(rest) != 1 || rest[0].N != 3 {
		t.Errorf("log after 2: got %+v, %v", rest, err)
	}

	hash := cwt.Hash(token)
	sealed := a.news(1, news.HashesItem(hash[:]))
	receipt := a.push(coapsec.NewRequest(codes.POST, "/lk/news", ace.FormatCBOR, sealed), codes.Changed)
	key, err := d.device.SymmetricKey(provision.PurposeNewsUp, provision.FirstKeyID)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := news.OpenReceipt(receipt.Payload, key); err != nil || !r.Applied || r.Sequence != 1 {
		t.Errorf("receipt: got %+v, %v", r, err)
	}
	var hint *coapsec.UnprotectedError
	if _, err := phone.Exchange(context.Background(), unlock); !errors.As(err, &hint) || hint.Code != codes.Unauthorized {
		t.Errorf("after revocation: got %v, want an unprotected 4.01", err)
	}
	again = a.push(coapsec.NewRequest(codes.POST, "/lk/news", ace.FormatCBOR, sealed), codes.Changed)
	if !bytes.Equal(again.Payload, receipt.Payload) {
		t.Error("the same news got another receipt")
	}
}

func TestServersPaths(t *testing.T) {
	_, a, _, _ := neighbourhood(t)
	tests := []struct {
		name    string
		request message.Message
		want    codes.Code
	}{
		{"an action", unlock, codes.NotFound},
		{"reading news", coapsec.NewRequest(codes.GET, "/lk/news", coapsec.NoFormat, nil), codes.MethodNotAllowed},
		{"writing the log", coapsec.NewRequest(codes.POST, "/lk/log", coapsec.NoFormat, nil), codes.MethodNotAllowed},
		{"the log after what is no number", with(coapsec.NewRequest(codes.GET, "/lk/log", coapsec.NoFormat, nil), message.URIQuery, "after=x"), codes.BadRequest},
		{"news that does not open", coapsec.NewRequest(codes.POST, "/lk/news", ace.FormatCBOR, []byte("x")), codes.Unauthorized},
		{"a token that does not open", uploadRequest(t, upload([]byte("x"))), codes.BadRequest},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { a.push(tt.request, tt.want) })
	}
}

func TestRegistrationTeachesTimeAndEpoch(t *testing.T) {
	d, a, _, r := neighbourhood(t)
	c := d.claims()
	c.Grant.Epoch = 1
	phone := coapsec.Secure(d, enter(t, d, c, d.seal(c)))
	wants(t, phone, unlock, codes.Changed)
	a.mu.Lock()
	a.epoch = 5
	a.mu.Unlock()
	if _, err := r.Register(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := phone.Exchange(context.Background(), unlock); err == nil {
		t.Error("a session of an earlier epoch lives on")
	}
	a.mu.Lock()
	a.now = a.now.Add(2 * time.Hour)
	a.mu.Unlock()
	if _, err := r.Register(context.Background()); err != nil {
		t.Fatal(err)
	}
	late := d.claims() // an hour from now, which the server says is over
	late.Grant.Epoch = 5
	if answer := d.plain(uploadRequest(t, upload(d.seal(late)))); answer.Code != codes.Unauthorized {
		t.Errorf("got %v, want 4.01", answer.Code)
	}
	if last, _, _ := a.registered(); last.Epoch != 5 {
		t.Errorf("the lock reported epoch %d, want 5", last.Epoch)
	}
}

// TestServerRestart: the lock's next registration meets an unprotected 4.01 and makes a new context by itself.
func TestServerRestart(t *testing.T) {
	d, a, _, r := neighbourhood(t)
	a.restart()
	if _, err := r.Register(context.Background()); err != nil {
		t.Fatal(err)
	}
	c := d.claims()
	a.push(uploadRequest(t, upload(d.seal(c))), codes.Created)
	if _, _, got := a.registered(); got != 2 {
		t.Errorf("%d registrations arrived, want 2", got)
	}
}

// TestServerPushesAfterItsRestart: a new server process pushes before the lock has come back.
func TestServerPushesAfterItsRestart(t *testing.T) {
	d, a, _, _ := neighbourhood(t)
	a.restart()
	a.push(uploadRequest(t, upload(d.seal(d.claims()))), codes.Created)
}

// scripted answers registrations with an error a number of times.
type scripted struct {
	failures int
	asked    int
	next     coapsec.Exchanger
}

var errLost = errors.New("lost")

func (s *scripted) Exchange(ctx context.Context, m message.Message) (message.Message, error) {
	s.asked++
	if s.failures != 0 {
		s.failures--
		return message.Message{}, errLost
	}
	return s.next.Exchange(ctx, m)
}

func TestRegistrarBacksOffAndComesBack(t *testing.T) {
	_, _, _, r := neighbourhood(t)
	ctx, cancel := context.WithCancel(context.Background())
	var pauses []time.Duration
	var failed int
	s := &scripted{failures: 5, next: r.Peers[0]}
	r.Peers, r.Lifetime = []coapsec.Exchanger{s}, 3*time.Minute
	r.OnError = func(err error) {
		if !errors.Is(err, errLost) {
			t.Errorf("got %v", err)
		}
		failed++
	}
	r.Sleep = func(_ context.Context, pause time.Duration) error {
		pauses = append(pauses, pause)
		if len(pauses) == 7 {
			cancel()
		}
		return ctx.Err()
	}
	r.Run(ctx)
	if failed != 5 || len(pauses) != 7 {
		t.Fatalf("%d failures, pauses %v", failed, pauses)
	}
	for i, most := range []time.Duration{1, 2, 4, 8, 16, 60, 60} {
		most *= time.Second
		if pauses[i] > most || pauses[i] < most*3/4 {
			t.Errorf("pause %d: got %v, want up to a quarter less than %v", i, pauses[i], most)
		}
	}
}

func TestSecondAddressIsTried(t *testing.T) {
	_, _, _, r := neighbourhood(t)
	dead := &scripted{failures: -1}
	r.Peers = []coapsec.Exchanger{dead, r.Peers[0]}
	if _, err := r.Register(context.Background()); err != nil || dead.asked == 0 {
		t.Errorf("got %v, asked %d times", err, dead.asked)
	}
	r.Peers = nil
	if _, err := r.Register(context.Background()); err == nil {
		t.Error("registered without an address")
	}
}

// TestNonceOverUDP: hints are longer than the shortest question, and a lock answers nobody whose address it does not know
// with three times what he sent.
func TestNonceOverUDP(t *testing.T) {
	d := newDoor(t)
	d.device.RequireCNonce = true
	d.start()
	lock, phone := socket(t, d.security), socket(t, nil)
	nonce, err := client.Nonce(t.Context(), phone.To(lock.LocalAddr()))
	if err != nil {
		t.Fatal(err)
	}
	c := d.claims()
	c.CNonce = nonce
	enter(t, phone.To(lock.LocalAddr()), c, d.seal(c))
}

// TestEveryBoundHolds keeps the face's bounds and those of the house in step.
func TestEveryBoundHolds(t *testing.T) {
	in := upload(make([]byte, ace.MaxToken))
	payload, err := in.Encode()
	if err != nil || len(payload) > coapapi.MaxUpload {
		t.Errorf("the longest token needs %d bytes, %v, allowed are %d", len(payload), err, coapapi.MaxUpload)
	}
	if resource.MaxLogBatch > news.MaxEntries || resource.MaxReceiptLog > news.MaxEntries {
		t.Error("an answer of the log has more entries than may travel")
	}
}
