package delivery_test

import (
	"context"
	"crypto/rand"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/delivery/deliverytest"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/news"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// Indexes into the actions of deliverytest.Record.
const unlock, view, disarm = 0, 1, 2

var (
	unlocked = aif.New(aif.Entry{Path: "/door/unlock", Methods: aif.POST})
	disarmed = aif.New(aif.Entry{Path: "/alarm/disarm", Methods: aif.POST})
)

// logbook is a device's access log. page, if set, answers instead.
type logbook struct {
	w *world

	mu      sync.Mutex
	entries []news.Entry
	asked   []uint64
	page    func(after uint64) message.Message
}

func newLogbook(t *testing.T) *logbook {
	l := &logbook{}
	l.w = newWorld(t, l.serve)
	return l
}

func (l *logbook) serve(_ context.Context, r *coapsec.Request) message.Message {
	l.mu.Lock()
	defer l.mu.Unlock()
	path, _ := r.Path()
	query, err := r.Options.Queries()
	if r.Code != codes.GET || path != "/lk/log" || err != nil || len(query) != 1 {
		return message.Message{Code: codes.NotFound}
	}
	after, err := strconv.ParseUint(strings.TrimPrefix(query[0], "after="), 10, 64)
	if err != nil {
		return message.Message{Code: codes.BadRequest}
	}
	l.asked = append(l.asked, after)
	if l.page != nil {
		return l.page(after)
	}
	var page []news.Entry
	for _, e := range l.entries {
		if e.N > after && len(page) < news.MaxEntries {
			page = append(page, e)
		}
	}
	return pageOf(page)
}

func pageOf(entries []news.Entry) message.Message {
	payload, err := news.EncodeEntries(entries)
	if err != nil {
		return message.Message{Code: codes.InternalServerError}
	}
	return coapsec.Content(codes.Content, ace.FormatCBOR, payload)
}

// write appends an entry.
func (l *logbook) write(g pop.GrantID, action uint64, result news.Result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, news.Entry{N: uint64(len(l.entries) + 1), Boot: 1, Grant: g, Action: action, Result: result})
}

func (l *logbook) questions() []uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]uint64{}, l.asked...)
}

// give stores a grant of unlock and disarm on a device.
func (l *logbook) give(device authz.Device, once bool) pop.GrantID {
	l.w.t.Helper()
	g := authz.Grant{Owner: "alice", To: authz.Subject{User: "mother"}, Device: device.ID, Rights: unlocked.Union(disarmed), Once: once, CreatedAt: time.Now()}
	_, _ = rand.Read(g.ID[:])
	if err := l.w.store.AddGrant(l.w.t.Context(), g); err != nil {
		l.w.t.Fatal(err)
	}
	return g.ID
}

func (l *logbook) collect() {
	l.w.engine.Collect(context.Background(), l.w.record.ID)
}

func (l *logbook) wantSpent(what string, id pop.GrantID, want aif.Rights) {
	l.w.t.Helper()
	g, err := l.w.store.Store.Grant(l.w.t.Context(), id)
	if err != nil || !g.Spent.Equal(want) {
		l.w.t.Errorf("%s: spent %v, %v, want %v", what, g.Spent, err, want)
	}
}

func TestLogMarksWhatWasUsedUp(t *testing.T) {
	l := newLogbook(t)
	tests := []struct {
		name   string
		once   bool
		action uint64
		result news.Result
		want   aif.Rights
	}{
		{"unlocked", true, unlock, news.ResultDone, unlocked},
		{"disarmed", true, disarm, news.ResultDone, disarmed},
		{"may have unlocked", true, unlock, news.ResultUnknown, unlocked},
		{"was refused", true, unlock, news.ResultRefused, nil},
		{"a token was taken", true, news.NoAction, news.ResultAccepted, nil},
		{"about no action", true, news.NoAction, news.ResultDone, nil},
		{"an action that the device does not have", true, disarm + 1, news.ResultDone, nil},
		{"looked", true, view, news.ResultDone, nil},
		{"unlocked by a grant without end", false, unlock, news.ResultDone, nil},
	}
	grants := make([]pop.GrantID, len(tests))
	for i, test := range tests {
		grants[i] = l.give(l.w.record, test.once)
		l.write(pop.GrantID{0xee, byte(i)}, unlock, news.ResultDone) // nobody knows this grant
		l.write(pop.GrantID{}, unlock, news.ResultDone)              // the owner
		l.write(grants[i], test.action, test.result)
	}
	l.collect()
	for i, test := range tests {
		l.wantSpent(test.name, grants[i], test.want)
	}
	l.write(grants[0], disarm, news.ResultDone)
	l.collect()
	l.wantSpent("unlocked, then disarmed", grants[0], unlocked.Union(disarmed))
}

// TestDeviceCannotSpendGrantsOnOthers: a thief's device lies about the neighbour's.
func TestDeviceCannotSpendGrantsOnOthers(t *testing.T) {
	l := newLogbook(t)
	neighbour := deliverytest.Record("neighbour")
	if err := l.w.store.AddDevice(t.Context(), neighbour); err != nil {
		t.Fatal(err)
	}
	foreign, own := l.give(neighbour, true), l.give(l.w.record, true)
	for _, result := range []news.Result{news.ResultDone, news.ResultUnknown} {
		l.write(foreign, unlock, result)
		l.write(own, unlock, result)
	}
	l.collect()
	l.wantSpent("the neighbour's", foreign, nil)
	l.wantSpent("its own", own, unlocked)
}

func TestLogIsReadInPagesAndGoesOn(t *testing.T) {
	l := newLogbook(t)
	var grants []pop.GrantID
	for range 2*news.MaxEntries + 1 {
		id := l.give(l.w.record, true)
		grants = append(grants, id)
		l.write(id, unlock, news.ResultDone)
	}
	l.collect()
	for _, id := range grants {
		l.wantSpent("a page", id, unlocked)
	}
	last := l.give(l.w.record, true)
	l.write(last, unlock, news.ResultDone)
	l.collect()
	l.wantSpent("the next round", last, unlocked)
	wantAsked(t, l.questions(), 0, 32, 64, 65, 65, 66)
	l.w.restart()
	l.collect()
	if asked := l.questions(); asked[6] != 0 {
		t.Errorf("a new process asked after %d, want 0: it cannot know what was noted", asked[6])
	}
}

func wantAsked(t *testing.T, got []uint64, want ...uint64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("asked after %v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("asked after %v, want %v", got, want)
		}
	}
}

// TestWhatCouldNotBeNotedIsReadAgain: a store that fails for a moment must not let a used grant pass for unused.
func TestWhatCouldNotBeNotedIsReadAgain(t *testing.T) {
	l := newLogbook(t)
	id := l.give(l.w.record, true)
	l.write(id, unlock, news.ResultDone)
	l.w.store.broken.Store(true)
	l.collect()
	l.wantSpent("while the store fails", id, nil)
	l.w.store.broken.Store(false)
	l.collect()
	l.wantSpent("after it", id, unlocked)
}

func TestBadLogsEndTheRound(t *testing.T) {
	entry := func(n uint64) news.Entry {
		return news.Entry{N: n, Boot: 1, Action: news.NoAction, Result: news.ResultAccepted}
	}
	for name, test := range map[string]struct {
		page func(after uint64) message.Message
		want int // pages asked for
	}{
		"the same page for ever":      {func(uint64) message.Message { return pageOf([]news.Entry{entry(1), entry(2)}) }, 2},
		"without end":                 {func(after uint64) message.Message { return pageOf([]news.Entry{entry(after + 1)}) }, 32},
		"refused":                     {func(uint64) message.Message { return message.Message{Code: codes.NotFound} }, 1},
		"not CBOR":                    {func(uint64) message.Message { return coapsec.Content(codes.Content, ace.FormatCBOR, []byte{0xff}) }, 1},
		"nothing where a list is":     {func(uint64) message.Message { return message.Message{Code: codes.Content} }, 1},
		"the largest number, at once": {func(uint64) message.Message { return pageOf([]news.Entry{entry(1<<63 - 1)}) }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLogbook(t)
			l.page = test.page
			l.collect()
			if n := len(l.questions()); n != test.want {
				t.Errorf("asked for %d pages, want %d", n, test.want)
			}
		})
	}
}

func TestOneRoundAtATime(t *testing.T) {
	l := newLogbook(t)
	started, goOn := make(chan struct{}), make(chan struct{})
	l.page = func(uint64) message.Message {
		close(started)
		<-goOn
		return pageOf(nil)
	}
	done := make(chan struct{})
	go func() { l.collect(); close(done) }()
	<-started
	l.collect() // returns at once
	close(goOn)
	<-done
	if n := len(l.questions()); n != 1 {
		t.Errorf("asked %d times, want 1", n)
	}
	l.mu.Lock()
	l.page = nil
	l.mu.Unlock()
	l.collect()
	if n := len(l.questions()); n != 2 {
		t.Errorf("asked %d times after the end of the first round, want 2", n)
	}
}
