package delivery_test

import (
	"slices"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/news"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// After recover the log is read from its beginning, also by a process that has read it before, and only when it was read to
// its end is it not wanted any more.
func TestLogIsReadAgainAfterRecover(t *testing.T) {
	l := newLogbook(t)
	ctx, now := t.Context(), time.Now()
	wanted := func() bool {
		t.Helper()
		at, err := l.w.store.LogWanted(ctx, l.w.record.ID)
		if err != nil {
			t.Fatal(err)
		}
		return !at.IsZero()
	}
	l.write(l.give(l.w.record, true), unlock, news.ResultDone)
	l.write(l.give(l.w.record, true), disarm, news.ResultDone)
	l.collect()
	if _, err := l.w.store.Recover(ctx, authz.AuditEntry{At: now, Event: "recover"}, now); err != nil {
		t.Fatal(err)
	}
	if !wanted() {
		t.Fatal("recover wants no log")
	}
	before := len(l.questions())
	answers := func(after uint64) message.Message {
		if after == 0 { // the first page, and then the power fails
			return pageOf(l.entries[:1])
		}
		return message.Message{Code: codes.ServiceUnavailable}
	}
	l.mu.Lock()
	l.page = answers
	l.mu.Unlock()
	l.collect()
	if asked := l.questions()[before:]; !slices.Equal(asked, []uint64{0, 1}) || !wanted() {
		t.Errorf("asked after %d, wanted %v: half a log is not enough", asked, wanted())
	}
	// A device whose log never ends does not count as read either.
	endless := uint64(0)
	l.mu.Lock()
	l.page = func(after uint64) message.Message {
		endless++
		return pageOf([]news.Entry{{N: after + 1, Boot: 1, Result: news.ResultDone}})
	}
	l.mu.Unlock()
	l.collect()
	if endless < 10 || !wanted() {
		t.Errorf("after %d pages: wanted %v", endless, wanted())
	}
	l.mu.Lock()
	l.page = nil
	l.mu.Unlock()
	before = len(l.questions())
	l.collect()
	if asked := l.questions()[before:]; !slices.Equal(asked, []uint64{0, 2}) || wanted() {
		t.Errorf("asked after %d, wanted %v", asked, wanted())
	}
	before = len(l.questions())
	l.collect()
	if asked := l.questions()[before:]; !slices.Equal(asked, []uint64{2}) {
		t.Errorf("asked after %d: it begins anew without need", asked)
	}
}
