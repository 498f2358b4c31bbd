package delivery_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/delivery"
	"github.com/latchkey-ace/latchkey/authz/delivery/deliverytest"
	"github.com/latchkey-ace/latchkey/authz/grant"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/news"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

func keyOf(t testing.TB, d authz.Device, purpose provision.Purpose) cose.SymmetricKey {
	t.Helper()
	key, err := provision.SymmetricKey(d.RootKey, purpose, d.ID, provision.FirstKeyID)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// reader is a device that opens its news and answers with what receipt makes of it.
type reader struct {
	t *testing.T
	w *world

	mu      sync.Mutex
	receipt func(n news.News) message.Message
	kept    []news.News
}

// answers sets what the device does from now on.
func (r *reader) answers(receipt func(n news.News) message.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.receipt = receipt
}

func (r *reader) read() []news.News {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.kept)
}

func newReader(t *testing.T) *reader {
	r := &reader{t: t}
	r.w = newWorld(t, r.serve)
	return r
}

func (r *reader) serve(_ context.Context, request *coapsec.Request) message.Message {
	path, _ := request.Path()
	if path == "/lk/log" {
		return coapsec.Content(codes.Content, ace.FormatCBOR, []byte{0x80})
	}
	format, err := request.Options.ContentFormat()
	if path != "/lk/news" || request.Code != codes.POST || err != nil || format != ace.FormatOctets {
		r.t.Errorf("got %v %s in format %v", request.Code, path, format)
	}
	n, err := news.Open(request.Payload, keyOf(r.t, r.w.record, provision.PurposeNewsDown))
	if err != nil {
		r.t.Error(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept = append(r.kept, n)
	return r.receipt(n)
}

// seal makes the answer with a receipt under a key of device d.
func seal(t *testing.T, d authz.Device, purpose provision.Purpose, receipt news.Receipt) []byte {
	t.Helper()
	sealed, err := news.SealReceipt(receipt, keyOf(t, d, purpose), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func answerWith(payload []byte) message.Message {
	return coapsec.Content(codes.Changed, ace.FormatCBOR, payload)
}

func someNews() news.News {
	return news.News{Sequence: 1 << 50, IssuedAt: time.Unix(1_795_000_000, 0).UTC(), Items: []news.Item{news.EpochItem(7)}}
}

func TestTellReturnsTheReceipt(t *testing.T) {
	r := newReader(t)
	want := news.Receipt{
		Sequence: someNews().Sequence, Applied: true, Cursor: 9,
		Entries: []news.Entry{{N: 9, Boot: 1, Grant: pop.GrantID{1}, Result: news.ResultDone}},
	}
	r.answers(func(news.News) message.Message { return answerWith(seal(t, r.w.record, provision.PurposeNewsUp, want)) })
	got, err := r.w.engine.Tell(t.Context(), r.w.record, someNews())
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if read := r.read(); len(read) != 1 || fmt.Sprint(read[0]) != fmt.Sprint(someNews()) {
		t.Errorf("the device read %+v", read)
	}
	want.Applied = false
	r.answers(func(news.News) message.Message { return answerWith(seal(t, r.w.record, provision.PurposeNewsUp, want)) })
	if got, err = r.w.engine.Tell(t.Context(), r.w.record, someNews()); err != nil || got.Applied {
		t.Errorf("not applied: got %+v, %v", got, err)
	}
}

func TestTellRefusesReceipts(t *testing.T) {
	r := newReader(t)
	other := deliverytest.Record("another")
	applied := func(sequence uint64) news.Receipt { return news.Receipt{Sequence: sequence, Applied: true} }
	own, up := r.w.record, provision.PurposeNewsUp
	good := seal(t, own, up, applied(someNews().Sequence))
	damaged := append([]byte{}, good...)
	damaged[len(damaged)-1] ^= 1
	tests := []struct {
		name    string
		receipt []byte
		want    error // nil: any
	}{
		{"for the news before", seal(t, own, up, applied(someNews().Sequence-1)), nil},
		{"for the news after", seal(t, own, up, applied(someNews().Sequence+1)), nil},
		{"for no news", seal(t, own, up, applied(0)), nil},
		{"by another device", seal(t, other, up, applied(someNews().Sequence)), news.ErrProtection},
		{"under the key for news down", seal(t, own, provision.PurposeNewsDown, applied(someNews().Sequence)), news.ErrProtection},
		{"under the key for tokens", seal(t, own, provision.PurposeToken, applied(someNews().Sequence)), news.ErrProtection},
		{"with one bit flipped", damaged, news.ErrProtection},
		{"empty", nil, nil},
		{"in clear", []byte{0x84, 0x01, 0xf5, 0x00, 0x80}, nil},
	}
	for n := range good {
		tests = append(tests, struct {
			name    string
			receipt []byte
			want    error
		}{fmt.Sprintf("cut at %d", n), good[:n], nil})
	}
	for _, test := range tests {
		r.answers(func(news.News) message.Message { return answerWith(test.receipt) })
		got, err := r.w.engine.Tell(t.Context(), own, someNews())
		if err == nil || test.want != nil && !errors.Is(err, test.want) || got.Applied {
			t.Errorf("receipt %s: got %+v, %v, want %v", test.name, got, err, test.want)
		}
	}
}

// issuer is a server above the engine, with a grant to give and to take back.
func issuer(t *testing.T, w *world) (*authz.Server, authz.Grant) {
	t.Helper()
	server, err := authz.New(t.Context(), "http://localhost", w.store, grant.New(rand.Reader), authz.Options{Deliverer: w.engine})
	if err != nil {
		t.Fatal(err)
	}
	g, err := server.Give(t.Context(), authz.Grant{
		Owner: "alice", To: authz.Subject{User: "mother"}, Device: w.record.ID, Rights: aif.New(aif.Entry{Path: "/door/unlock", Methods: aif.POST}),
	})
	if err != nil {
		t.Fatal(err)
	}
	return server, g
}

func TestRevocationIsConfirmedByAReceiptOnly(t *testing.T) {
	other := deliverytest.Record("another")
	for name, test := range map[string]struct {
		receipt   func(own authz.Device, n news.News) message.Message
		confirmed bool
	}{
		"applied": {func(own authz.Device, n news.News) message.Message {
			return answerWith(seal(t, own, provision.PurposeNewsUp, news.Receipt{Sequence: n.Sequence, Applied: true}))
		}, true},
		"not applied": {func(own authz.Device, n news.News) message.Message {
			return answerWith(seal(t, own, provision.PurposeNewsUp, news.Receipt{Sequence: n.Sequence}))
		}, false},
		"for other news": {func(own authz.Device, n news.News) message.Message {
			return answerWith(seal(t, own, provision.PurposeNewsUp, news.Receipt{Sequence: n.Sequence - 1, Applied: true}))
		}, false},
		"by another device": {func(_ authz.Device, n news.News) message.Message {
			return answerWith(seal(t, other, provision.PurposeNewsUp, news.Receipt{Sequence: n.Sequence, Applied: true}))
		}, false},
		"success without a receipt": {func(authz.Device, news.News) message.Message {
			return message.Message{Code: codes.Changed}
		}, false},
		"refused": {func(own authz.Device, n news.News) message.Message {
			m := answerWith(seal(t, own, provision.PurposeNewsUp, news.Receipt{Sequence: n.Sequence, Applied: true}))
			m.Code = codes.BadRequest
			return m
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReader(t)
			r.answers(func(n news.News) message.Message { return test.receipt(r.w.record, n) })
			server, g := issuer(t, r.w)
			wantRevoked(t, server, g, test.confirmed)
			if n := len(r.read()); n != 1 {
				t.Errorf("the device read %d pieces of news", n)
			}
		})
	}
}

// wantRevoked revokes: minting is over in any case, confirmed is what the device made it.
func wantRevoked(t *testing.T, server *authz.Server, g authz.Grant, confirmed bool) {
	t.Helper()
	got, err := server.Revoke(t.Context(), g.ID)
	if err != nil || got.Confirmed != confirmed || (got.Cause == nil) != confirmed {
		t.Errorf("got confirmed %v, cause %v, %v", got.Confirmed, got.Cause, err)
	}
	kept, err := server.Store().Grant(t.Context(), g.ID)
	if err != nil || kept.RevokedAt.IsZero() || kept.ConfirmedAt.IsZero() == confirmed {
		t.Errorf("kept: revoked at %v, confirmed at %v, %v", kept.RevokedAt, kept.ConfirmedAt, err)
	}
}

func TestRevocationOfAnAbsentDeviceIsNotConfirmed(t *testing.T) {
	r := newReader(t)
	r.answers(func(news.News) message.Message { t.Error("asked"); return message.Message{Code: codes.Changed} })
	server, g := issuer(t, r.w)
	r.w.register(r.w.device.Address(), -time.Second)
	wantRevoked(t, server, g, false)
	if sent := r.w.tape.Between("out", netip.AddrPort{}); len(sent) != 0 {
		t.Errorf("%d datagrams were sent", len(sent))
	}
	r.answers(func(n news.News) message.Message {
		return answerWith(seal(t, r.w.record, provision.PurposeNewsUp, news.Receipt{Sequence: n.Sequence, Applied: true}))
	})
	r.w.place()
	wantRevoked(t, server, g, true) // asked again, now that it is there
}

func TestTellNeedsTheDevice(t *testing.T) {
	r := newReader(t)
	record := r.w.record
	record.Registration = authz.Registration{}
	if _, err := r.w.engine.Tell(t.Context(), record, someNews()); !errors.Is(err, delivery.ErrOffline) {
		t.Errorf("got %v, want %v", err, delivery.ErrOffline)
	}
}
