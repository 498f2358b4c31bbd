package delivery_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/delivery"
	"github.com/latchkey-ace/latchkey/authz/delivery/deliverytest"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/news"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// applies is a device that does what the news says.
func (r *reader) applies(n news.News) message.Message {
	return answerWith(seal(r.t, r.w.record, provision.PurposeNewsUp, news.Receipt{Sequence: n.Sequence, Applied: true}))
}

// silent is a device whose answer is no receipt.
func silent(news.News) message.Message { return message.Message{Code: codes.ServiceUnavailable} }

// told counts how often the device was told each hash.
func (r *reader) told() map[string]int {
	count := map[string]int{}
	for _, n := range r.read() {
		for _, item := range n.Items {
			for _, h := range item.Hashes {
				count[string(h)]++
			}
		}
	}
	return count
}

// ledger makes tokens by hand.
type ledger struct {
	t     testing.TB
	store authz.Store
	n     uint64
}

func hashOf(n uint64) []byte {
	return append([]byte{1}, bytes.Repeat(binary.BigEndian.AppendUint64(nil, n), 4)...)
}

// token mints one that lives for an hour.
func (l *ledger) token(device provision.DeviceID, grant pop.GrantID, now time.Time) authz.TokenRecord {
	l.t.Helper()
	l.n++
	record := authz.TokenRecord{
		Hash: hashOf(l.n), ID: binary.BigEndian.AppendUint64(append([]byte{}, device[:]...), l.n), Device: device, Grant: grant,
		Client: "phone", User: "mother", IssuedAt: now, Expires: now.Add(time.Hour),
	}
	err := l.store.Mint(l.t.Context(), authz.MintSpec{Now: now, Parties: authz.Parties{Device: device, Grant: grant}},
		func(authz.Minting) (authz.Issued, error) { return authz.Issued{Token: record}, nil })
	if err != nil {
		l.t.Fatal(err)
	}
	return record
}

// end ends a token, which puts one message into the outbox.
func (l *ledger) end(token authz.TokenRecord, now time.Time) {
	l.t.Helper()
	if _, err := l.store.End(l.t.Context(), authz.EndSpec{Token: token.ID, Audit: authz.AuditEntry{At: now, Event: "end", Result: "granted"}}, now); err != nil {
		l.t.Fatal(err)
	}
}

func (w *world) waiting() []authz.Message {
	w.t.Helper()
	list, err := w.store.Waiting(w.t.Context(), w.record.ID, w.now())
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// outbox is a device that applies its news, a grant on it, and a ledger of tokens.
func outbox(t *testing.T) (*reader, *ledger, authz.Grant) {
	t.Helper()
	r := newReader(t)
	r.answers(r.applies)
	l := &ledger{t: t, store: r.w.store}
	if err := r.w.store.AddUser(t.Context(), authz.User{Name: "alice"}); err != nil {
		t.Fatal(err)
	}
	g := authz.Grant{ID: pop.GrantID{7}, Owner: "alice", To: authz.Subject{User: "mother"}, Device: r.w.record.ID,
		Rights: aif.New(aif.Entry{Path: "/door/unlock", Methods: aif.POST}), CreatedAt: r.w.now()}
	if err := r.w.store.AddGrant(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	return r, l, g
}

func TestOutboxIsTold(t *testing.T) {
	r, l, _ := outbox(t)
	for range 30 { // more than one piece of news holds
		l.end(l.token(r.w.record.ID, pop.GrantID{}, r.w.now()), r.w.now())
	}
	for range 3 { // 16 at a time
		r.w.engine.Round(t.Context())
	}
	count := r.told()
	for n := range uint64(30) {
		if count[string(hashOf(n+1))] != 1 {
			t.Errorf("told of token %d %d times", n+1, count[string(hashOf(n+1))])
		}
	}
	if left := r.w.waiting(); len(left) != 0 || len(r.read()) != 2 {
		t.Errorf("%d messages are left after %d pieces of news", len(left), len(r.read()))
	}
}

// TestRevocationIsConfirmedLater: the device was away; when it registers it hears, and the grant is confirmed.
func TestRevocationIsConfirmedLater(t *testing.T) {
	r, l, g := outbox(t)
	token := l.token(r.w.record.ID, g.ID, r.w.now())
	r.w.register(r.w.device.Address(), -time.Second)
	server, _ := issuer(t, r.w)
	wantRevoked(t, server, g, false)
	r.w.advance(authz.TellTime)
	r.w.engine.Round(t.Context()) // still away
	if left := r.w.waiting(); len(left) != 1 || left[0].Attempts != 1 {
		t.Fatalf("waiting: %+v", left)
	}
	r.w.place()
	r.w.engine.Round(t.Context())
	if len(r.read()) != 0 {
		t.Error("told before its pause is over, and nobody said that the device is there")
	}
	r.w.engine.Arrived(t.Context(), r.w.record.ID)
	r.w.engine.Round(t.Context())
	kept, err := server.Store().Grant(t.Context(), g.ID)
	if err != nil || kept.ConfirmedAt.IsZero() || r.told()[string(token.Hash)] != 1 || len(r.w.waiting()) != 0 {
		t.Errorf("confirmed at %v, told %v, %d left, %v", kept.ConfirmedAt, r.told(), len(r.w.waiting()), err)
	}
}

// TestUnconfirmedIsTriedAgain until it expires, however often it fails.
func TestUnconfirmedIsTriedAgain(t *testing.T) {
	r, l, _ := outbox(t)
	r.answers(silent)
	l.end(l.token(r.w.record.ID, pop.GrantID{}, r.w.now()), r.w.now())
	for n := range 5 {
		r.w.engine.Round(t.Context())
		r.w.engine.Round(t.Context()) // within the pause
		if got := len(r.read()); got != n+1 {
			t.Fatalf("told %d times after %d pauses", got, n)
		}
		r.w.advance(2 * time.Second << n)
	}
	r.answers(func(n news.News) message.Message {
		return answerWith(seal(t, r.w.record, provision.PurposeNewsUp, news.Receipt{Sequence: n.Sequence}))
	})
	r.w.engine.Round(t.Context())
	if left := r.w.waiting(); len(left) != 1 || left[0].Attempts != 6 {
		t.Errorf("what was read and not applied: waiting %+v", left)
	}
	r.w.advance(time.Hour)
	r.w.place()
	before := len(r.read())
	r.w.engine.Round(t.Context())
	if len(r.read()) != before || len(r.w.waiting()) != 0 {
		t.Error("told of a token that has ended by itself")
	}
}

// TestNewsRise: each piece of news has a higher sequence than the one before, whoever sent it.
func TestNewsRise(t *testing.T) {
	r, l, g := outbox(t)
	l.token(r.w.record.ID, g.ID, r.w.now())
	l.end(l.token(r.w.record.ID, pop.GrantID{}, r.w.now()), r.w.now())
	r.w.engine.Round(t.Context())
	server, _ := issuer(t, r.w)
	wantRevoked(t, server, g, true)
	r.w.restart()
	l.end(l.token(r.w.record.ID, pop.GrantID{}, r.w.now()), r.w.now())
	r.w.engine.Round(t.Context())
	read := r.read()
	if len(read) != 3 {
		t.Fatalf("%d pieces of news", len(read))
	}
	for i := 1; i < len(read); i++ {
		if read[i].Sequence <= read[i-1].Sequence {
			t.Errorf("news %d after %d", read[i].Sequence, read[i-1].Sequence)
		}
	}
	if len(r.w.waiting()) != 0 {
		t.Error("a revocation that was confirmed at once still waits")
	}
}

// TestTakerDies: another process tells what the first had taken, once the lease is over.
func TestTakerDies(t *testing.T) {
	r, l, _ := outbox(t)
	l.end(l.token(r.w.record.ID, pop.GrantID{}, r.w.now()), r.w.now())
	now := r.w.now()
	taken, err := r.w.store.Due(t.Context(), now, now.Add(delivery.LeaseTime), 10)
	if err != nil || len(taken) != 1 {
		t.Fatalf("took %d, %v", len(taken), err)
	}
	r.w.restart()
	r.w.engine.Round(t.Context())
	if len(r.read()) != 0 {
		t.Error("told by two")
	}
	r.w.advance(delivery.LeaseTime)
	r.w.engine.Round(t.Context())
	if len(r.read()) != 1 || len(r.w.waiting()) != 0 {
		t.Errorf("told %d times, %d left", len(r.read()), len(r.w.waiting()))
	}
}

// TestRun: a running engine finds what another process put there, and what it is woken for, and ends with its context.
func TestRun(t *testing.T) {
	r, l, _ := outbox(t)
	told := make(chan struct{}, 8)
	r.answers(func(n news.News) message.Message {
		told <- struct{}{}
		return r.applies(n)
	})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.w.engine.Run(ctx) }()
	l.end(l.token(r.w.record.ID, pop.GrantID{}, r.w.now()), r.w.now())
	<-told // by looking itself
	l.end(l.token(r.w.record.ID, pop.GrantID{}, r.w.now()), r.w.now())
	r.w.engine.Wake()
	<-told
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestStopGivesBack: what is being told when the server stops is due at once for the next.
func TestStopGivesBack(t *testing.T) {
	r, l, _ := outbox(t)
	ctx, stop := context.WithCancel(t.Context())
	r.answers(func(news.News) message.Message {
		stop()
		return silent(news.News{})
	})
	l.end(l.token(r.w.record.ID, pop.GrantID{}, r.w.now()), r.w.now())
	if err := r.w.engine.Run(ctx); err != nil {
		t.Fatal(err)
	}
	r.answers(r.applies)
	r.w.restart()
	r.w.engine.Round(t.Context())
	if len(r.w.waiting()) != 0 {
		t.Error("the next server has to wait")
	}
}

func TestPause(t *testing.T) {
	zero, ones := bytes.NewReader(make([]byte, 1000)), bytes.NewReader(bytes.Repeat([]byte{0xff}, 1000))
	longest := delivery.New(nil, delivery.Options{Rand: zero})
	shortest := delivery.New(nil, delivery.Options{Rand: ones})
	for attempts, want := range map[int]time.Duration{0: 2 * time.Second, 1: 2 * time.Second, 2: 4 * time.Second, 11: 2048 * time.Second,
		12: time.Hour, 13: time.Hour, 1 << 30: time.Hour} {
		if got := longest.Pause(attempts); got != want {
			t.Errorf("after %d attempts: got %v, want %v", attempts, got, want)
		}
		if got := shortest.Pause(attempts); got < want/2 || got > want/2+want/1000 {
			t.Errorf("after %d attempts: at least %v, want half of %v", attempts, got, want)
		}
	}
}

// TestTwoServersTellOnce: of two processes on one store each message is told by one.
func TestTwoServersTellOnce(t *testing.T) {
	r, l, _ := outbox(t)
	const devices = 12
	var mu sync.Mutex
	told := map[string]int{}
	for n := range devices {
		d := deliverytest.Record(fmt.Sprintf("door-%d", n))
		if err := r.w.store.AddDevice(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		handler := coapsec.HandlerFunc(func(_ context.Context, request *coapsec.Request) message.Message {
			opened, err := news.Open(request.Payload, keyOf(t, d, provision.PurposeNewsDown))
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, h := range opened.Items[1].Hashes {
				told[string(h)]++
			}
			return answerWith(seal(t, d, provision.PurposeNewsUp, news.Receipt{Sequence: opened.Sequence, Applied: true}))
		})
		lock := deliverytest.Start(t, d, handler)
		r.w.registerDevice(d.ID, lock.Address())
		l.end(l.token(d.ID, pop.GrantID{}, r.w.now()), r.w.now())
	}
	second := delivery.New(r.w.store, delivery.Options{Now: r.w.now})
	second.Use(deliverytest.Socket(t, coapsec.NewSecurity(second, nil, nil, coapsec.SecurityOptions{}), "", coapsec.EndpointOptions{}))
	var both sync.WaitGroup
	for _, e := range []*delivery.Engine{r.w.engine, second} {
		both.Go(func() {
			for range 3 {
				e.Round(t.Context())
			}
		})
	}
	both.Wait()
	if len(told) != devices {
		t.Errorf("%d of %d devices were told", len(told), devices)
	}
	for h, n := range told {
		if n != 1 {
			t.Errorf("%x was told %d times", h, n)
		}
	}
}

func (w *world) registerDevice(id provision.DeviceID, address netip.AddrPort) {
	w.t.Helper()
	r := authz.Registration{Address: address.String(), ExpiresAt: w.now().Add(time.Hour), SeenAt: w.now()}
	if err := w.store.Register(w.t.Context(), id, r); err != nil {
		w.t.Fatal(err)
	}
}
