package resource_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop/cwt"
	"github.com/latchkey-ace/latchkey/pop/news"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/resource"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

var channel = resource.Origin{Server: true}

func (w *world) sealNews(sequence uint64, items ...news.Item) []byte {
	w.t.Helper()
	n := news.News{Sequence: sequence, IssuedAt: w.now, Items: items}
	sealed, err := news.Seal(n, w.key(provision.PurposeNewsDown), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	return sealed
}

// hear applies news and opens the receipt.
func (w *world) hear(origin resource.Origin, sequence uint64, items ...news.Item) news.Receipt {
	w.t.Helper()
	sealed, err := w.server.Apply(context.Background(), w.sealNews(sequence, items...), origin)
	if err != nil {
		w.t.Fatal(err)
	}
	receipt, err := news.OpenReceipt(sealed, w.key(provision.PurposeNewsUp))
	if err != nil {
		w.t.Fatal(err)
	}
	return receipt
}

func TestRevocationEndsSessionAndToken(t *testing.T) {
	w := lock(t)
	revokedToken, other := w.seal(w.claims()), w.seal(w.claims())
	s := w.session(upload(revokedToken), resource.Origin{})
	kept := w.session(upload(other), resource.Origin{})
	hash := cwt.Hash(revokedToken)
	if r := w.hear(channel, 7, news.HashesItem(hash[:])); !r.Applied || r.Sequence != 7 {
		t.Errorf("got %+v", r)
	}
	d, _ := w.press(s)
	decided(t, d, codes.Unauthorized, resource.ErrNoSession)
	d, _ = w.press(kept)
	decided(t, d, codes.Empty, nil)
	w.start()
	_, err := w.accept(upload(revokedToken))
	refused(t, err, codes.Unauthorized, resource.ErrRevoked)
	if got := w.server.Standing().News; got != 7 {
		t.Errorf("newest news: got %d, want 7", got)
	}
}

func TestNewsIsAppliedOnce(t *testing.T) {
	w := lock(t)
	sealed := w.sealNews(5, news.EpochItem(10))
	first, err := w.server.Apply(context.Background(), sealed, channel)
	if err != nil {
		t.Fatal(err)
	}
	c := w.claims()
	c.Grant.Epoch = 10
	w.press(w.enter(c))
	w.start()
	again, err := w.server.Apply(context.Background(), sealed, channel)
	if err != nil || !bytes.Equal(first, again) {
		t.Errorf("a repetition must get the same receipt: %v", err)
	}
	_, err = w.server.Apply(context.Background(), w.sealNews(4), channel)
	refused(t, err, codes.BadRequest, resource.ErrOldNews)
}

func TestForgedNewsIsRefused(t *testing.T) {
	w, other := lock(t), lock(t)
	good := w.sealNews(1, news.EpochItem(10))
	broken := bytes.Clone(good)
	broken[len(broken)-1] ^= 1
	up, err := news.Seal(news.News{Sequence: 1, IssuedAt: w.now}, w.key(provision.PurposeNewsUp), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, sealed := range map[string][]byte{
		"a broken tag": broken, "another device's": other.sealNews(1), "under the other direction's key": up, "nothing": nil,
	} {
		_, err := w.server.Apply(context.Background(), sealed, channel)
		refused(t, err, codes.Unauthorized, resource.ErrBadProtection)
		if got := w.server.Standing(); got.Epoch != 0 || got.News != 0 {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

func TestStepsInNewsNeedALiveServer(t *testing.T) {
	month := uint64(resource.MaxStep / time.Second)
	w := lock(t)
	w.hear(channel, 1, news.EpochItem(100))
	carried := resource.Origin{} // by a phone
	for name, item := range map[string]news.Item{
		"epoch": news.EpochItem(100 + month + 1), "time": news.TimeItem(w.now.Add(resource.MaxStep + time.Second)),
	} {
		if r := w.hear(carried, 2, item); r.Applied {
			t.Errorf("%s: a step of more than a month was applied", name)
		}
	}
	if got := w.server.Standing(); got.Epoch != 100 || got.News != 1 {
		t.Errorf("got %+v, want it as it was", got)
	}
	if r := w.hear(carried, 2, news.EpochItem(100+month)); !r.Applied {
		t.Error("a month was not applied")
	}
	if r := w.hear(channel, 3, news.EpochItem(100+3*month)); !r.Applied {
		t.Error("the live server was not believed")
	}
}

func TestTickRaisesTheBoundOfTime(t *testing.T) {
	w := newWorld(t, provision.ShapeEncrypt0, provision.ClockNone)
	w.hear(resource.Origin{}, 1, news.TimeItem(w.now.Add(time.Hour)))
	w.start()
	c := w.claims()
	c.Expires = w.now.Add(time.Hour)
	_, err := w.accept(upload(w.seal(c)))
	refused(t, err, codes.Unauthorized, resource.ErrExpired)
}

// TestDroppedHashExpiresItsNumber: RFC 9770 lets a full device forget a hash only if the token stays dead.
func TestDroppedHashExpiresItsNumber(t *testing.T) {
	w := newWorld(t, provision.ShapeEncrypt0, provision.ClockNone)
	token := w.seal(w.claims())
	w.session(upload(token), resource.Origin{})
	hash := cwt.Hash(token)
	w.hear(channel, 1, news.HashesItem(hash[:]))
	for n := range resource.MaxRevoked {
		other := cwt.Hash(fmt.Append(nil, n))
		w.hear(channel, uint64(2+n), news.HashesItem(other[:]))
	}
	state, err := w.store.Load()
	if err != nil || len(state.Revoked) != resource.MaxRevoked {
		t.Fatalf("got %d hashes, %v", len(state.Revoked), err)
	}
	_, err = w.accept(upload(token))
	refused(t, err, codes.Unauthorized, resource.ErrReplayOfExpired)
}

func TestReceiptsCarryTheLogOnwards(t *testing.T) {
	w := lock(t)
	s := w.enter(w.claims())
	for range resource.MaxReceiptLog {
		w.press(s)
	}
	first := w.hear(channel, 1)
	second := w.hear(channel, 2)
	if len(first.Entries) != resource.MaxReceiptLog || len(second.Entries) != 1 {
		t.Fatalf("got %d and %d entries", len(first.Entries), len(second.Entries))
	}
	accepted, last := first.Entries[0], second.Entries[0]
	if accepted.Result != news.ResultAccepted || accepted.Action != news.NoAction {
		t.Errorf("got %+v, want the acceptance", accepted)
	}
	if last.Result != news.ResultDone || last.Action != 0 || last.N != second.Cursor || !last.Time.Equal(w.now) {
		t.Errorf("got %+v, want the last unlock", last)
	}
	data, err := w.server.LogCBOR(accepted.N)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := news.ParseEntries(data)
	if err != nil || len(entries) != resource.MaxReceiptLog || entries[0].N != accepted.N+1 {
		t.Errorf("got %+v, %v", entries, err)
	}
}
