package authz_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/news"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

func TestGive(t *testing.T) {
	w := newWorld(t)
	tests := []struct {
		name   string
		change func(*authz.Grant)
		says   string // "": given
	}{
		{"to a person", func(*authz.Grant) {}, ""},
		{"to a client", toGateway, ""},
		{"for a window", func(g *authz.Grant) { g.From, g.Until = evening.Add(time.Hour), evening.Add(2*time.Hour) }, ""},
		{"until a second from now", func(g *authz.Grant) { g.Until = evening.Add(time.Second) }, ""},
		{"of what is reserved", func(g *authz.Grant) { g.To.User, g.Rights = "alice", aif.New(configure) }, ""},
		{"by somebody else", func(g *authz.Grant) { g.Owner = "mother" }, "mother does not own door-1"},
		{"by nobody", func(g *authz.Grant) { g.Owner = "" }, "does not own"},
		{"on a device that is not there", func(g *authz.Grant) { g.Device = deviceID(9) }, "not found"},
		{"to nobody", func(g *authz.Grant) { g.To = authz.Subject{} }, "for one user or one client"},
		{"to two", func(g *authz.Grant) { g.To.Client = "gateway" }, "for one user or one client"},
		{"of nothing", func(g *authz.Grant) { g.Rights = nil }, "cannot do all of"},
		{"of an entry without a method", func(g *authz.Grant) { g.Rights = aif.Rights{{Path: "/door"}} }, "cannot do all of"},
		{"of what the device cannot do", func(g *authz.Grant) { g.Rights = aif.New(view, aif.Entry{Path: "/door", Methods: aif.PUT}) }, "cannot do all of"},
		{"until now", func(g *authz.Grant) { g.Until = evening }, "would have ended already"},
		{"until before it begins", func(g *authz.Grant) { g.From, g.Until = evening.Add(2*time.Hour), evening.Add(time.Hour) }, "before it begins"},
		{"until it begins", func(g *authz.Grant) { g.From, g.Until = evening.Add(time.Hour), evening.Add(time.Hour) }, "before it begins"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := authz.Grant{Owner: "alice", To: authz.Subject{User: "mother"}, Device: deviceID(1), Rights: aif.New(view)}
			tt.change(&g)
			before, count := w.grants(), len(w.audit())
			got, err := w.server.Give(t.Context(), g)
			if tt.says != "" {
				if err == nil || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("got %v, want %q", err, tt.says)
				}
				if len(w.grants()) != len(before) || len(w.audit()) != count {
					t.Error("the refusal left something")
				}
				return
			}
			w.must(err)
			stored, err := w.store.Grant(t.Context(), got.ID)
			if err != nil || !reflect.DeepEqual(stored, got) || got.ID == (pop.GrantID{}) || !got.CreatedAt.Equal(evening) {
				t.Errorf("got %+v, stored %+v, %v", got, stored, err)
			}
			all := w.audit()
			if e := all[len(all)-1]; len(all) != count+1 || e.Event != "grant.add" || e.Result != "granted" || e.Grant != got.ID || e.User != "alice" {
				t.Errorf("audit says %+v", e)
			}
		})
	}
}

func (w *world) grants() []authz.Grant {
	w.t.Helper()
	all, err := w.store.Grants(w.t.Context(), "")
	w.must(err)
	return all
}

// TestRevokeTellsTheDevice: minting stops, the device hears every hash, and only its own word is a confirmation.
func TestRevokeTellsTheDevice(t *testing.T) {
	w := newWorld(t)
	g := w.give(nil, unlock)
	w.granted(w.phone, redemption(w.code()))
	w.granted(w.phone, redemption(w.code()))
	out := w.tokens(1)
	r, err := w.server.Revoke(t.Context(), g.ID)
	w.must(err)
	if !r.Confirmed || r.Cause != nil || !r.EndsBy.Equal(evening.Add(authz.TokenLife)) || !r.Grant.RevokedAt.Equal(evening) || r.Device.Name != "door-1" {
		t.Errorf("got %+v", r)
	}
	w.wasTold(t, out)
	stored, err := w.store.Grant(t.Context(), g.ID)
	if err != nil || !stored.RevokedAt.Equal(evening) || !stored.ConfirmedAt.Equal(evening) {
		t.Errorf("stored %+v, %v", stored, err)
	}
	all := w.audit()
	if e := all[len(all)-1]; e.Event != "grant.revoke" || e.Grant != g.ID || e.User != "alice" || e.Device != audience(1) {
		t.Errorf("audit says %+v", e)
	}
	again, err := w.server.Revoke(t.Context(), g.ID)
	if err != nil || !again.Confirmed || !again.Grant.RevokedAt.Equal(evening) {
		t.Errorf("a second time: %+v, %v", again, err)
	}
}

// wasTold wants news of now with exactly these tokens' hashes and rising sequence numbers.
func (w *world) wasTold(t *testing.T, out []authz.TokenRecord) {
	t.Helper()
	want := map[string]bool{}
	for _, r := range out {
		for _, h := range [][]byte{r.Hash, r.AltHash} {
			if h != nil {
				want[string(h)] = true
			}
		}
	}
	var last uint64
	for _, n := range w.courier.told {
		if n.Sequence <= last || n.Sequence>>20 < uint64(evening.Unix()) {
			t.Errorf("news %d after %d", n.Sequence, last)
		}
		last = n.Sequence
		if n.Items[0].Kind != news.KindTime || !n.Items[0].Time.Equal(w.clock.now()) {
			t.Errorf("news begin with %+v, want the time", n.Items[0])
		}
		for _, item := range n.Items[1:] {
			for _, h := range item.Hashes {
				if !want[string(h)] {
					t.Errorf("the device is told %x, twice or for nothing", h)
				}
				delete(want, string(h))
			}
		}
	}
	if len(want) != 0 {
		t.Errorf("the device is not told of %d hashes", len(want))
	}
}

// TestRevokeManyTokens: more hashes than fit into one piece of news, both of each JWT.
func TestRevokeManyTokens(t *testing.T) {
	w := newWorld(t)
	w.device(2, func(d *authz.Device) { d.Shape = provision.ShapeJWT })
	g := w.give(func(g *authz.Grant) { toGateway(g); g.Device = deviceID(2) }, view)
	for range 30 {
		w.granted(w.gateway, own(2))
	}
	out := w.tokens(2)
	r, err := w.server.Revoke(t.Context(), g.ID)
	if err != nil || !r.Confirmed || len(w.courier.told) != 3 {
		t.Errorf("got %+v, %v after %d pieces of news", r, err, len(w.courier.told))
	}
	w.wasTold(t, out)
}

func TestRevokeWithoutConfirmation(t *testing.T) {
	tests := []struct {
		name    string
		device  func(*authz.Device)
		arrange func(w *world)
		says    string
	}{
		{"the device does not answer", nil, func(w *world) {
			w.courier.receipt = func(news.News) (news.Receipt, error) { return news.Receipt{}, errors.New("no answer") }
		}, "no answer"},
		{"it could not apply the news", nil, func(w *world) {
			w.courier.receipt = func(n news.News) (news.Receipt, error) { return news.Receipt{Sequence: n.Sequence}, nil }
		}, "could not apply"},
		{"it is never online", func(d *authz.Device) { d.Delivery = authz.DeliveryEmbed }, nil, "not online"},
		{"it introspects", func(d *authz.Device) { d.Delivery = authz.DeliveryIntrospect }, nil, "introspection"},
		{"nobody delivers", nil, func(w *world) { w.server.SetDeliverer(nil) }, "not online"},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, n := newWorld(t), byte(2+i)
			w.device(n, tt.device)
			g := w.give(func(g *authz.Grant) { toGateway(g); g.Device = deviceID(n) }, view)
			w.granted(w.gateway, own(n))
			if tt.arrange != nil {
				tt.arrange(w)
			}
			r, err := w.server.Revoke(t.Context(), g.ID)
			if err != nil || r.Confirmed || r.Cause == nil || !strings.Contains(r.Cause.Error(), tt.says) || r.EndsBy.IsZero() {
				t.Errorf("got %+v, %v, want %q", r, err, tt.says)
			}
			if stored, err := w.store.Grant(t.Context(), g.ID); err != nil || stored.RevokedAt.IsZero() || !stored.ConfirmedAt.IsZero() {
				t.Errorf("stored %+v, %v", stored, err)
			}
			if _, err := w.token(w.gateway, own(n)); err == nil {
				t.Error("a token of a revoked grant")
			}
		})
	}
}

// unconfirmable is a store that cannot note confirmations.
type unconfirmable struct{ authz.Store }

var errDiskFull = errors.New("disk full")

func (unconfirmable) Confirm(context.Context, pop.GrantID, time.Time) error { return errDiskFull }

// TestUnstoredConfirmation: an error of Revoke means that nothing has been stopped, so this is none.
func TestUnstoredConfirmation(t *testing.T) {
	w := newWorld(t)
	g := w.give(nil, unlock)
	whole := w.store
	w.store = unconfirmable{whole}
	w.serve(authz.Options{})
	w.store = whole
	r, err := w.server.Revoke(t.Context(), g.ID)
	if err != nil || r.Confirmed || !errors.Is(r.Cause, errDiskFull) {
		t.Errorf("got %+v, %v", r, err)
	}
	if _, err := w.server.Revoke(t.Context(), pop.GrantID{9}); !errors.Is(err, authz.ErrNotFound) {
		t.Errorf("an unknown grant: got %v", err)
	}
}

// TestEndsBy: without a clock a device may accept a token in its last second and count exi from there (D16).
func TestEndsBy(t *testing.T) {
	w := newWorld(t)
	w.device(2, func(d *authz.Device) { d.Clock, d.ExpiresIn = provision.ClockNone, 2*time.Hour })
	for n, want := range map[byte]time.Duration{1: authz.TokenLife, 2: 2*time.Hour + authz.HoldLife + 2*time.Hour} {
		g := w.give(func(g *authz.Grant) { toGateway(g); g.Device = deviceID(n) }, view)
		none, err := w.server.Revoke(t.Context(), w.give(nil, view).ID)
		if err != nil || !none.EndsBy.IsZero() {
			t.Errorf("no token was out, but the last ends by %v, %v", none.EndsBy, err)
		}
		w.granted(w.gateway, own(n))
		r, err := w.server.Revoke(t.Context(), g.ID)
		if err != nil || !r.EndsBy.Equal(evening.Add(want)) {
			t.Errorf("device %d: ends by %v, %v, want %v", n, r.EndsBy, err, evening.Add(want))
		}
	}
}

// TestNames: rights are said in the device's words where it has them.
func TestNames(t *testing.T) {
	w := newWorld(t)
	d, err := w.store.Device(t.Context(), deviceID(1))
	w.must(err)
	both := aif.Entry{Path: "/door", Methods: aif.GET | aif.PUT}
	for _, tt := range []struct {
		rights aif.Rights
		want   string
	}{
		{nil, ""}, {aif.New(view, unlock), "unlock view"}, {aif.New(both), "view /door:PUT"}, {aif.New(aif.Entry{Path: "/config", Methods: aif.PUT}), "/config:PUT"},
	} {
		if got := strings.Join(d.Names(tt.rights), " "); got != tt.want {
			t.Errorf("%v: got %q, want %q", tt.rights, got, tt.want)
		}
	}
	for words, unknown := range map[string]string{"unlock view": "", "unlock fly": "fly", "/a:GET /b": "/b", "/a:JUMP": "/a:JUMP", "UNLOCK": "UNLOCK"} {
		if _, got := d.ParseRights(strings.Fields(words)); got != unknown {
			t.Errorf("%q: unknown is %q, want %q", words, got, unknown)
		}
	}
}
