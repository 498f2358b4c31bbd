package coapapi_test

import (
	"context"
	"errors"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/delivery"
	"github.com/latchkey-ace/latchkey/authz/delivery/deliverytest"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// mustRegister registers the lock as it would itself.
func (w *world) mustRegister(lifetime time.Duration) ace.RegisterAnswer {
	w.t.Helper()
	answer, err := w.lock.Ask(w.t.Context(), w.endpoint.LocalAddr(), deliverytest.RegisterRequest(w.t, lifetime))
	format, formatErr := answer.Options.ContentFormat()
	if err != nil || answer.Code != codes.Changed || formatErr != nil || format != ace.FormatCBOR {
		w.t.Fatalf("register: got %v in format %v, %v", answer.Code, format, err)
	}
	out, err := ace.ParseRegisterAnswer(answer.Payload)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *world) registration() authz.Registration {
	w.t.Helper()
	d, err := w.store.Device(context.Background(), w.record.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	return d.Registration
}

// introduce makes a context without registering.
func (w *world) introduce() {
	w.t.Helper()
	answer, err := w.lock.Ask(w.t.Context(), w.endpoint.LocalAddr(), coapsec.NewRequest(codes.GET, ace.PathRegister, coapsec.NoFormat, nil))
	if err != nil || answer.Code != codes.MethodNotAllowed {
		w.t.Fatalf("GET /register: got %v, %v", answer.Code, err)
	}
}

// once asks from an endpoint of the lock and does not repeat the request when it is challenged.
func (w *world) once(from *coapsec.Endpoint, request message.Message) message.Message {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	x := exchanger(func(ctx context.Context, m message.Message) (message.Message, error) {
		defer cancel()
		return from.To(w.endpoint.LocalAddr()).Exchange(ctx, m)
	})
	answer, err := w.lock.Channel().Exchange(ctx, x, request)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer
}

// challenged wants 4.01 with an Echo and returns it.
func challenged(t *testing.T, answer message.Message) []byte {
	t.Helper()
	echo, err := answer.Options.GetBytes(coapsec.OptionEcho)
	if answer.Code != codes.Unauthorized || err != nil || len(echo) == 0 {
		t.Fatalf("got %v with Echo %x, want a challenge", answer.Code, echo)
	}
	return echo
}

func TestAddressIsEarned(t *testing.T) {
	w := newWorld(t)
	w.introduce()
	request := deliverytest.RegisterRequest(t, time.Minute)
	challenged(t, w.once(w.lock.Endpoint(), request))
	if got := w.registration(); !reflect.DeepEqual(got, authz.Registration{}) {
		t.Errorf("registered without an answer to the challenge: %+v", got)
	}
	w.mustRegister(time.Minute)
	first := w.registration()
	if first.Address != w.lock.Address().String() {
		t.Errorf("registered at %s, want %s", first.Address, w.lock.Address())
	}
	if answer := w.once(w.lock.Endpoint(), request); answer.Code != codes.Changed {
		t.Errorf("again from the same address: got %v", answer.Code)
	}
	first = w.registration()
	w.lock.Move()
	challenged(t, w.once(w.lock.Endpoint(), request))
	if got := w.registration(); !reflect.DeepEqual(got, first) {
		t.Errorf("the old registration did not stay: got %+v, want %+v", got, first)
	}
	w.upload()
	if n := len(w.tape.Between("out", w.lock.Address())); n != 1 {
		t.Errorf("%d datagrams to the new address, want the challenge alone", n)
	}
	w.mustRegister(time.Minute)
	if got := w.registration().Address; got != w.lock.Address().String() {
		t.Errorf("registered at %s, want %s", got, w.lock.Address())
	}
}

// upload pushes to where the lock is registered.
func (w *world) upload() {
	w.t.Helper()
	record := w.record
	record.Registration = w.registration()
	if _, err := w.engine.Upload(w.t.Context(), record, []byte("token")); err != nil {
		w.t.Error(err)
	}
}

// TestChallengeBelongsToTheAddress: an Echo that was sent to one address proves nothing about another, nor after 5 s.
func TestChallengeBelongsToTheAddress(t *testing.T) {
	w := newWorld(t)
	w.introduce()
	request := deliverytest.RegisterRequest(t, time.Minute)
	with := func(echo []byte) message.Message {
		m := request
		m.Options = append(message.Options{}, m.Options...).Add(message.Option{ID: coapsec.OptionEcho, Value: echo})
		return m
	}
	echo := challenged(t, w.once(w.lock.Endpoint(), request))
	old := w.lock.Move()
	challenged(t, w.once(w.lock.Endpoint(), with(echo)))
	challenged(t, w.once(old, with([]byte("invented"))))
	late := challenged(t, w.once(old, request))
	w.advance(coapsec.EchoLifetime + time.Millisecond)
	challenged(t, w.once(old, with(late)))
	if got := w.registration(); got.Address != "" {
		t.Errorf("registered at %s", got.Address)
	}
	good := challenged(t, w.once(old, request))
	if answer := w.once(old, with(good)); answer.Code != codes.Changed || w.registration().Address != old.LocalAddr().String() {
		t.Errorf("the right one: got %v, registered at %q", answer.Code, w.registration().Address)
	}
	w.lock.Move()
	challenged(t, w.once(w.lock.Endpoint(), with(good)))
}

// TestSpoofedSourcesGetLittle: whoever puts another's address on a datagram draws one answer at most, three times as long
// at most, and moves no registration. The datagrams are the lock's own, caught on their way.
func TestSpoofedSourcesGetLittle(t *testing.T) {
	w := newWorld(t)
	catch := func(request message.Message) []byte {
		t.Helper()
		caught := newSocket(t)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, _ = w.lock.Ask(ctx, caught.LocalAddr().(*net.UDPAddr).AddrPort(), request)
		return receive(t, caught)
	}
	request := deliverytest.RegisterRequest(t, time.Minute)
	datagrams := map[string][]byte{"request #1": catch(request)}
	w.mustRegister(time.Minute)
	datagrams["registration"] = catch(request)
	datagrams["registration of a thousand bytes"] = catch(longRegistration(t))
	plain := newSocket(t)
	stranger := deliverytest.Socket(t, nil, "", coapsec.EndpointOptions{})
	for name, m := range map[string]message.Message{
		"plain /.well-known/core": coapsec.NewRequest(codes.GET, "/.well-known/core", coapsec.NoFormat, nil),
		"plain /token":            tokenRequest([]byte{0xa0}),
		"unknown kid":             {Code: codes.POST, Options: message.Options{{ID: 9, Value: []byte{9, 1, 0x55}}}, Payload: []byte("0123456789")},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, _ = stranger.To(plain.LocalAddr().(*net.UDPAddr).AddrPort()).Exchange(ctx, m)
		cancel()
		datagrams[name] = receive(t, plain)
	}
	before := w.registration()
	for name, datagram := range datagrams {
		t.Run(name, func(t *testing.T) {
			victim := newSocket(t)
			send(t, victim, w, datagram)
			got := receive(t, victim)
			if len(got) == 0 || len(got) > 3*len(datagram) {
				t.Errorf("%d bytes for %d", len(got), len(datagram))
			}
			if more := within(t, victim, 200*time.Millisecond); more != nil {
				t.Errorf("a second datagram of %d bytes", len(more))
			}
			if got := w.registration(); !reflect.DeepEqual(got, before) {
				t.Errorf("the registration moved: %+v", got)
			}
		})
	}
}

func longRegistration(t *testing.T) message.Message {
	t.Helper()
	in := ace.Register{Lifetime: time.Minute}
	for range 4 {
		in.LocalURIs = append(in.LocalURIs, "coap://"+strings.Repeat("a", 240))
	}
	payload, err := in.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return coapsec.NewRequest(codes.POST, ace.PathRegister, ace.FormatCBOR, payload)
}

func newSocket(t testing.TB) *net.UDPConn {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func send(t testing.TB, from *net.UDPConn, w *world, datagram []byte) {
	t.Helper()
	if _, err := from.WriteToUDPAddrPort(datagram, w.endpoint.LocalAddr()); err != nil {
		t.Fatal(err)
	}
}

// receive waits for a datagram that should come; nil if it does not.
func receive(t testing.TB, conn *net.UDPConn) []byte {
	t.Helper()
	return within(t, conn, 2*time.Second)
}

func within(t testing.TB, conn *net.UDPConn, patience time.Duration) []byte {
	t.Helper()
	buf := make([]byte, 2048)
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	n, err := conn.Read(buf)
	if err != nil {
		return nil
	}
	return buf[:n]
}

func TestLifetimeIsClamped(t *testing.T) {
	w := newWorld(t)
	for asked, want := range map[time.Duration]time.Duration{
		0: 5 * time.Second, 4 * time.Second: 5 * time.Second, 5 * time.Second: 5 * time.Second, 6 * time.Second: 6 * time.Second,
		time.Hour: time.Hour, 24 * time.Hour: 24 * time.Hour, 24*time.Hour + time.Second: 24 * time.Hour, ace.MaxLifetime: 24 * time.Hour,
	} {
		answer := w.mustRegister(asked)
		r := w.registration()
		if got := r.ExpiresAt.Sub(r.SeenAt); answer.Lifetime != want || got != want {
			t.Errorf("asked for %v: answered %v, stored %v, want %v", asked, answer.Lifetime, got, want)
		}
	}
}

func TestAnswerToARegistration(t *testing.T) {
	w := newWorld(t)
	w.advance(100 * 24 * time.Hour)
	before := w.now()
	got := w.mustRegister(time.Minute)
	if got.Time.Before(before) || got.Time.After(w.now().Add(time.Second)) {
		t.Errorf("told that it is %v, at %v", got.Time, before) // whole seconds, never behind
	}
	want := ace.RegisterAnswer{Lifetime: time.Minute, Time: got.Time, Epoch: w.record.Epoch, TRLPath: "/revoke/trl", MaxN: 64}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	r := w.registration()
	if !reflect.DeepEqual(r.LocalURIs, []string{"coap://192.0.2.20:5683"}) || r.SeenAt.Before(before.Truncate(time.Millisecond)) || r.SeenAt.After(w.now()) {
		t.Errorf("stored %+v", r)
	}
}

func TestRegistrationEnds(t *testing.T) {
	w := newWorld(t)
	w.mustRegister(5 * time.Second)
	w.upload()
	w.advance(5 * time.Second)
	record := w.record
	record.Registration = w.registration()
	if _, err := w.engine.Upload(t.Context(), record, []byte("token")); !errors.Is(err, delivery.ErrOffline) {
		t.Errorf("got %v, want %v", err, delivery.ErrOffline)
	}
	w.mustRegister(5 * time.Second)
	w.upload()
}

// TestOldAddressIsTried: the lock moved, and where it moved to nobody answers any more.
func TestOldAddressIsTried(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mustRegister(time.Minute)
	w.lock.Move()
	w.mustRegister(time.Minute)
	_ = w.lock.Endpoint().Close()
	var both sync.WaitGroup
	both.Go(w.upload) // one waits there for the other
	both.Go(w.upload)
	both.Wait()
}

// TestMovesAreOnRecord: where a device is believed to be is a decision; that it is still there is not.
func TestMovesAreOnRecord(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		w.mustRegister(time.Minute)
	}
	records, err := w.store.AuditFind(t.Context(), authz.AuditQuery{Event: "register", Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	if len(records) != 1 || records[0].Reason != "now at "+w.registration().Address || records[0].Device != w.record.Audience() || records[0].Result != "granted" {
		t.Errorf("on record are %+v", records)
	}
}
