package coapapi_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/delivery/deliverytest"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/pop/trl"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// mint makes a token by hand that lives for an hour. n makes its hash.
func (w *world) mint(n uint64, device provision.DeviceID, client string) authz.TokenRecord {
	w.t.Helper()
	now := w.now()
	record := authz.TokenRecord{
		Hash: append([]byte{1}, bytes.Repeat(binary.BigEndian.AppendUint64(nil, n), 4)...),
		ID:   binary.BigEndian.AppendUint64(append([]byte{}, device[:]...), n), Device: device, Client: client,
		IssuedAt: now, Expires: now.Add(time.Hour),
	}
	err := w.store.Mint(w.t.Context(), authz.MintSpec{Now: now, Parties: authz.Parties{Device: device}},
		func(authz.Minting) (authz.Issued, error) { return authz.Issued{Token: record}, nil })
	if err != nil {
		w.t.Fatal(err)
	}
	return record
}

// end ends a token, as this server's process does or as another does.
func (w *world) end(store authz.Store, token authz.TokenRecord) {
	w.t.Helper()
	entry := authz.AuditEntry{At: w.now(), Event: "token.revoke", Result: "granted"}
	if _, err := store.End(w.t.Context(), authz.EndSpec{Token: token.ID, Audit: entry}, w.now()); err != nil {
		w.t.Fatal(err)
	}
}

// line is a channel over a socket to the server.
type line struct {
	w        *world
	channel  *coapsec.Channel
	endpoint *coapsec.Endpoint
}

func (l line) Exchange(ctx context.Context, m message.Message) (message.Message, error) {
	return l.channel.Exchange(ctx, l.endpoint.To(l.w.endpoint.LocalAddr()), m)
}

func (l line) Observe(ctx context.Context, m message.Message, each func(message.Message) error) error {
	return l.channel.Observe(ctx, l.endpoint.To(l.w.endpoint.LocalAddr()).(coapsec.Observer), m, each)
}

func (c *caller) line() coapsec.Observer {
	return coapsec.Blocks(line{c.w, c.channel, c.endpoint}, coapsec.BlocksOptions{}).(coapsec.Observer)
}

func (w *world) lockLine(d *deliverytest.Device) coapsec.Observer {
	return coapsec.Blocks(line{w, d.Channel(), d.Endpoint()}, coapsec.BlocksOptions{}).(coapsec.Observer)
}

func trlRequest(queries ...string) message.Message {
	m := coapsec.NewRequest(codes.GET, "/revoke/trl", coapsec.NoFormat, nil)
	for _, q := range queries {
		m.Options = m.Options.Add(message.Option{ID: message.URIQuery, Value: []byte(q)})
	}
	return m
}

// listed is an answer of the list.
func (w *world) listed(by coapsec.Exchanger, queries ...string) trl.Answer {
	w.t.Helper()
	m, err := by.Exchange(w.t.Context(), trlRequest(queries...))
	if err != nil {
		w.t.Fatal(err)
	}
	return answerIn(w.t, m)
}

func answerIn(t testing.TB, m message.Message) trl.Answer {
	t.Helper()
	format, err := m.Options.ContentFormat()
	if m.Code != codes.Content || err != nil || format != ace.FormatTRL {
		t.Fatalf("got %v in format %v", m.Code, format)
	}
	answer, err := trl.ParseAnswer(m.Payload)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// numbers says which tokens' hashes these are.
func numbers(hashes []trl.Hash) (list []uint64) {
	for _, h := range hashes {
		list = append(list, binary.BigEndian.Uint64(h[1:9]))
	}
	slices.Sort(list)
	return list
}

func TestEmptyList(t *testing.T) {
	w := newWorld(t)
	m, err := w.caller(w.client).line().Exchange(t.Context(), trlRequest())
	if err != nil || !bytes.Equal(m.Payload, []byte{0xa2, 0x00, 0x80, 0x02, 0xf6}) { // {0: [], 2: null}
		t.Errorf("got %x, %v", m.Payload, err)
	}
	m, err = w.caller(w.client).line().Exchange(t.Context(), trlRequest("diff=3", "cursor=5"))
	if err != nil || !bytes.Equal(m.Payload, []byte{0xa3, 0x01, 0x80, 0x02, 0xf6, 0x03, 0xf4}) { // {1: [], 2: null, 3: false}
		t.Errorf("got %x, %v", m.Payload, err)
	}
}

// TestEachSeesItsOwn: three clients and two devices, each with the part that concerns it, and an administrator with all.
func TestEachSeesItsOwn(t *testing.T) {
	w := newWorld(t)
	second, _ := w.addDevice(deliverytest.Record("back-door"))
	devices := []authz.Device{w.record, second}
	locks := []*deliverytest.Device{w.lock, deliverytest.Start(t, second, coapsec.HandlerFunc(takes))}
	names := []string{"gateway", "car", "watch"}
	for i, client := range names {
		for j, d := range devices {
			w.end(w.store, w.mint(uint64(10*i+j+1), d.ID, client))
			w.mint(uint64(100+10*i+j), d.ID, client) // and one that goes on
		}
	}
	for i, client := range names {
		by := w.client
		if i > 0 {
			by = w.addClient(client)
		}
		if got, want := numbers(w.listed(w.caller(by).line()).Full), []uint64{uint64(10*i + 1), uint64(10*i + 2)}; !slices.Equal(got, want) {
			t.Errorf("%s sees %v, want %v", client, got, want)
		}
		diff := w.listed(w.caller(by).line(), "diff=0")
		if len(diff.Diffs) != 2 || !slices.Equal(numbers(diff.Diffs[0].Added), []uint64{uint64(10*i + 2)}) {
			t.Errorf("%s: updates %+v", client, diff.Diffs)
		}
	}
	for j, lock := range locks {
		if got, want := numbers(w.listed(w.lockLine(lock)).Full), []uint64{uint64(1 + j), uint64(11 + j), uint64(21 + j)}; !slices.Equal(got, want) {
			t.Errorf("device %d sees %v, want %v", j, got, want)
		}
	}
	admin := w.administrator()
	if got := numbers(w.listed(w.caller(admin).line()).Full); len(got) != 6 {
		t.Errorf("the administrator sees %v", got)
	}
	if err := w.store.SuspendClient(t.Context(), admin.ID, w.now()); err != nil {
		t.Fatal(err)
	}
	if got := numbers(w.listed(w.caller(admin).line()).Full); len(got) != 0 {
		t.Errorf("suspended it sees %v", got)
	}
}

func (w *world) administrator() authz.Client {
	w.t.Helper()
	c := w.addClient("operator")
	c.Settings.Administrator = true
	if err := w.store.UpdateClient(w.t.Context(), c); err != nil {
		w.t.Fatal(err)
	}
	return c
}

// TestBadQueries is RFC 9770 §8.1 and what is no GET.
func TestBadQueries(t *testing.T) {
	w := newWorld(t)
	w.end(w.store, w.mint(1, w.record.ID, w.client.ID))
	by := w.caller(w.client).line()
	last := *w.listed(by).Cursor
	for _, tt := range []struct {
		queries []string
		want    trl.Error
	}{
		{[]string{"diff=-1"}, trl.Error{ID: trl.InvalidValue}},
		{[]string{"diff=abc", "cursor=1"}, trl.Error{ID: trl.InvalidValue}},
		{[]string{"cursor=5"}, trl.Error{ID: trl.InvalidSet}},
		{[]string{"diff=1", "cursor=x"}, trl.Error{ID: trl.InvalidValue, HasCursor: true, Cursor: &last}},
		{[]string{"diff=1", fmt.Sprint("cursor=", last+1)}, trl.Error{ID: trl.CursorOutOfBound}},
	} {
		m, err := by.Exchange(t.Context(), trlRequest(tt.queries...))
		format, _ := m.Options.ContentFormat()
		got, parseErr := trl.ParseError(m.Payload)
		if err != nil || m.Code != codes.BadRequest || format != ace.FormatProblemDetails || parseErr != nil {
			t.Errorf("%v: got %v in format %v, %v, %v", tt.queries, m.Code, format, err, parseErr)
			continue
		}
		if got.ID != tt.want.ID || got.HasCursor != tt.want.HasCursor || (got.Cursor == nil) != (tt.want.Cursor == nil) || got.Cursor != nil && *got.Cursor != last {
			t.Errorf("%v: got %+v, want %+v", tt.queries, got, tt.want)
		}
	}
	if w.listed(by, "colour=red").Full == nil {
		t.Error("an unknown parameter is not ignored")
	}
	with := func(id message.OptionID, value ...byte) message.Message {
		m := trlRequest()
		m.Options = m.Options.Add(message.Option{ID: id, Value: value})
		return m
	}
	post := trlRequest()
	post.Code = codes.POST
	for _, tt := range []struct {
		request message.Message
		want    codes.Code
	}{
		{post, codes.MethodNotAllowed}, {with(message.IfMatch, 1), codes.BadOption}, {with(message.Accept, 60), codes.NotAcceptable},
	} {
		if m, err := by.Exchange(t.Context(), tt.request); err != nil || m.Code != tt.want {
			t.Errorf("got %v, %v, want %v", m.Code, err, tt.want)
		}
	}
	if m := w.caller(w.client).plain(trlRequest()); m.Code != codes.Unauthorized || len(m.Payload) != 0 {
		t.Errorf("a stranger got %v", m.Code)
	}
}

// TestPagesGoOnAfterRestart: eighteen updates in two batches, the eldest first, the second from another server process. No index
// goes back.
func TestPagesGoOnAfterRestart(t *testing.T) {
	w := newWorld(t)
	for n := range uint64(18) {
		w.end(w.store, w.mint(n+1, w.record.ID, w.client.ID))
	}
	lock := w.lockLine(w.lock)
	first := w.listed(lock, "diff=0")
	if len(first.Diffs) != 16 || !first.More || !slices.Equal(numbers(first.Diffs[0].Added), []uint64{16}) {
		t.Fatalf("got %d updates, more %v", len(first.Diffs), first.More)
	}
	w.restart()
	w.end(w.store, w.mint(19, w.record.ID, w.client.ID))
	second := w.listed(lock, "diff=0", fmt.Sprint("cursor=", *first.Cursor))
	if len(second.Diffs) != 3 || second.More || !slices.Equal(numbers(second.Diffs[0].Added), []uint64{19}) || *second.Cursor <= *first.Cursor {
		t.Errorf("got %+v after %d", second, *first.Cursor)
	}
	if again := w.listed(lock, "diff=0", fmt.Sprint("cursor=", *second.Cursor)); len(again.Diffs) != 0 || again.More || *again.Cursor != *second.Cursor {
		t.Errorf("nothing new: got %+v", again)
	}
}

// TestLongList: what is longer than a datagram arrives whole, in blocks.
func TestLongList(t *testing.T) {
	w := newWorld(t)
	const tokens = 500
	for n := range uint64(tokens) {
		w.mint(n+1, w.record.ID, w.client.ID)
	}
	if _, err := w.store.End(t.Context(), authz.EndSpec{Client: w.client.ID, Audit: authz.AuditEntry{At: w.now(), Event: "end"}}, w.now()); err != nil {
		t.Fatal(err)
	}
	for _, by := range []coapsec.Exchanger{w.caller(w.client).line(), w.lockLine(w.lock)} {
		got := numbers(w.listed(by).Full)
		if len(got) != tokens || got[0] != 1 || got[tokens-1] != tokens {
			t.Errorf("got %d hashes", len(got))
		}
	}
}

// watching is what an observer is told.
type watching struct {
	told chan message.Message
	done chan error
	stop context.CancelFunc
}

func (w *world) watch(by coapsec.Observer, queries ...string) *watching {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	o := &watching{told: make(chan message.Message, 64), done: make(chan error, 1), stop: cancel}
	w.t.Cleanup(cancel)
	go func() {
		o.done <- by.Observe(ctx, trlRequest(queries...), func(m message.Message) error {
			o.told <- m
			return nil
		})
	}()
	return o
}

// until waits for an answer whose list is this.
func (o *watching) until(t *testing.T, want ...uint64) {
	t.Helper()
	for {
		select {
		case m := <-o.told:
			if got := numbers(answerIn(t, m).Full); slices.Equal(got, want) {
				return
			}
		case err := <-o.done:
			t.Fatalf("the observation ended: %v", err)
		}
	}
}

// TestObserve: whoever observes hears of his own tokens and of nobody else's, when they end here, when another process ends
// them, and when they leave the list.
func TestObserve(t *testing.T) {
	w := newWorld(t)
	other := w.addClient("other")
	mine := []authz.TokenRecord{w.mint(1, w.record.ID, w.client.ID), w.mint(2, w.record.ID, w.client.ID)}
	theirs := w.mint(3, w.record.ID, other.ID)
	client, device, stranger := w.watch(w.caller(w.client).line()), w.watch(w.lockLine(w.lock)), w.watch(w.caller(other).line())
	client.until(t)
	device.until(t)
	stranger.until(t)

	w.end(w.server.Store(), mine[0])
	client.until(t, 1)
	device.until(t, 1)
	w.end(w.store, mine[1]) // by another process, so to say
	client.until(t, 1, 2)
	device.until(t, 1, 2)
	if n := len(stranger.told); n != 0 {
		t.Errorf("a client was told %d times of tokens that are not its own", n)
	}
	w.end(w.server.Store(), theirs)
	stranger.until(t, 3)
	device.until(t, 1, 2, 3)
	if n := len(client.told); n != 0 {
		t.Errorf("the first client was told %d times of the other's token", n)
	}
	w.advance(2 * time.Hour)
	if _, err := w.server.Store().Sweep(t.Context(), w.now(), 100); err != nil {
		t.Fatal(err)
	}
	client.until(t)
	device.until(t)
	client.stop()
	if err := <-client.done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestObserveUpdates: the answer to an observed diff query is the query's answer at the time.
func TestObserveUpdates(t *testing.T) {
	w := newWorld(t)
	token := w.mint(1, w.record.ID, w.client.ID)
	o := w.watch(w.lockLine(w.lock), "diff=1")
	if first := answerIn(t, <-o.told); len(first.Diffs) != 0 {
		t.Errorf("got %+v", first)
	}
	w.end(w.server.Store(), token)
	if got := answerIn(t, <-o.told); len(got.Diffs) != 1 || !slices.Equal(numbers(got.Diffs[0].Added), []uint64{1}) {
		t.Errorf("got %+v", got)
	}
}

// TestObserverLosesItsRight: a client that is gone is told so, and no more.
func TestObserverLosesItsRight(t *testing.T) {
	w := newWorld(t)
	admin := w.administrator()
	o := w.watch(w.caller(admin).line())
	o.until(t)
	if err := w.store.DeleteClient(t.Context(), admin.ID); err != nil {
		t.Fatal(err)
	}
	w.end(w.server.Store(), w.mint(1, w.record.ID, w.client.ID))
	if m := <-o.told; m.Code != codes.Forbidden || len(m.Payload) != 0 {
		t.Errorf("got %v", m.Code)
	}
	if err := <-o.done; err != nil {
		t.Errorf("got %v", err)
	}
}

// TestObserveLongList: a notification longer than a datagram is fetched whole.
func TestObserveLongList(t *testing.T) {
	w := newWorld(t)
	var want []uint64
	for n := range uint64(100) {
		w.mint(n+1, w.record.ID, w.client.ID)
		want = append(want, n+1)
	}
	o := w.watch(w.caller(w.client).line())
	o.until(t)
	if _, err := w.server.Store().End(t.Context(), authz.EndSpec{Client: w.client.ID, Audit: authz.AuditEntry{At: w.now(), Event: "end"}}, w.now()); err != nil {
		t.Fatal(err)
	}
	o.until(t, want...)
}

// TestObserveAfterRestart: the new process knows neither context nor observer; who asks again goes on from what it knew.
func TestObserveAfterRestart(t *testing.T) {
	w := newWorld(t)
	tokens := []authz.TokenRecord{w.mint(1, w.record.ID, w.client.ID), w.mint(2, w.record.ID, w.client.ID), w.mint(3, w.record.ID, w.client.ID)}
	by := w.lockLine(w.lock)
	o := w.watch(by)
	o.until(t)
	w.end(w.server.Store(), tokens[0])
	o.until(t, 1)
	o.stop()
	<-o.done
	w.restart()
	w.end(w.server.Store(), tokens[1])
	o = w.watch(by)
	o.until(t, 1, 2)
	w.end(w.server.Store(), tokens[2])
	o.until(t, 1, 2, 3)
}
