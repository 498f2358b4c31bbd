package authz_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/grant"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/jose"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// other is another process on the same store.
func (w *world) other(o authz.Options) *authz.Server {
	w.t.Helper()
	o.Now, o.Deliverer = w.clock.now, w.courier
	s, err := authz.New(w.t.Context(), issuer, w.store, grant.New(rand.Reader), o)
	w.must(err)
	return s
}

// signs is the key that signs, as seen by who introspects an answer.
func (w *world) signs(s *authz.Server) string {
	w.t.Helper()
	token, err := s.SignIntrospection(w.t.Context(), authz.Asker{Client: w.gateway}, []byte(`{"active":false}`))
	w.must(err)
	set, err := s.KeySet(w.t.Context())
	w.must(err)
	read, err := jose.Verify(token, jose.Expect{Type: jose.TypeIntrospection, Keys: set.Find})
	w.must(err)
	return read.KeyID
}

func (w *world) states(s *authz.Server) string {
	w.t.Helper()
	keys, err := s.Keys(w.t.Context())
	w.must(err)
	var list []string
	for _, k := range keys {
		list = append(list, k.ID+" "+string(k.State))
	}
	return strings.Join(list, ", ")
}

// published are the ids of the set, which must be the same in both forms and hold no private half.
func (w *world) published(s *authz.Server) string {
	w.t.Helper()
	set, err := s.KeySet(w.t.Context())
	w.must(err)
	encoded, err := s.COSEKeySet(w.t.Context())
	w.must(err)
	asCOSE, err := cose.ParseKeySet(encoded)
	w.must(err)
	var ids []string
	for i, k := range set.Keys() {
		ids = append(ids, k.ID())
		if c := asCOSE[i]; string(c.ID()) != k.ID() || c.IsPrivate() || c.Algorithm() != cose.ES256 || !c.Public().Equal(k.Public()) {
			w.t.Errorf("COSE key %d differs from key %s", i, k.ID())
		}
	}
	text, err := set.Encode()
	w.must(err)
	if strings.Contains(string(text), `"d"`) || len(asCOSE) != len(ids) {
		w.t.Errorf("set %s", text)
	}
	return strings.Join(ids, " ")
}

// TestKeysRotateByThemselves: a key signs for a season, its successor is known all the time, and what it signed stays
// verifiable for the longest life a token can have (R126).
func TestKeysRotateByThemselves(t *testing.T) {
	w := newWorld(t)
	check := func(at time.Duration, signs, states, published string) {
		t.Helper()
		w.clock.move(evening.Add(at).Sub(w.clock.now()))
		if got := w.signs(w.server); got != signs {
			t.Errorf("after %v: key %s signs, want %s", at, got, signs)
		}
		if got := w.published(w.server); got != published {
			t.Errorf("after %v: published %s, want %s", at, got, published)
		}
		if got := w.states(w.server); got != states {
			t.Errorf("after %v: %s, want %s", at, got, states)
		}
	}
	check(0, "1", "2 waits, 1 signs", "2 1")
	check(authz.KeyEvery-time.Second, "1", "2 waits, 1 signs", "2 1")
	check(authz.KeyEvery, "2", "3 waits, 2 signs, 1 verifies", "3 2 1")
	keep := authz.HoldLife + authz.MaxEXI + time.Hour
	check(authz.KeyEvery+keep-time.Second, "3", "4 waits, 3 signs, 2 verifies, 1 verifies", "4 3 2 1")
	check(authz.KeyEvery+keep, "3", "4 waits, 3 signs, 2 verifies, 1 over", "4 3 2")
}

// TestRotationNow: whoever keeps the set for KeySetLife knows the key when it signs, however soon that is wanted.
func TestRotationNow(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	other := w.other(authz.Options{})
	soon, err := w.server.RotateKeys(ctx)
	w.must(err)
	if want := evening.Add(authz.KeyLead); soon.ID != "2" || !soon.From.Equal(want) || soon.State != authz.KeyWaits || authz.KeyLead < authz.KeySetLife+authz.KeyReload {
		t.Errorf("got %+v, want to wait until %v", soon, want)
	}
	again, err := w.server.RotateKeys(ctx) // changes nothing: one waits already
	w.must(err)
	if again != soon {
		t.Errorf("got %+v, want %+v", again, soon)
	}
	w.clock.move(authz.KeyLead)
	if a, b := w.signs(w.server), w.signs(other); a != "2" || b != "2" {
		t.Errorf("keys %s and %s sign", a, b)
	}
	w.clock.move(authz.KeyLead)
	now, err := other.RotateKeys(ctx)
	w.must(err)
	if now.ID != "3" || now.State != authz.KeySigns || w.signs(other) != "3" {
		t.Errorf("got %+v", now)
	}
	w.clock.move(authz.KeyReload) // by then the first process has noticed
	if got := w.signs(w.server); got != "3" {
		t.Errorf("key %s signs", got)
	}
	if got := w.states(w.server); got != "4 waits, 3 signs, 2 verifies, 1 verifies" {
		t.Error(got)
	}
	for range 40 {
		w.clock.move(authz.KeyLead)
		if _, err = w.server.RotateKeys(ctx); err != nil {
			break
		}
	}
	if set, bad := w.server.KeySet(ctx); err == nil || bad != nil || len(set.Keys()) > 32 {
		t.Errorf("rotated without end: %v, %v", err, bad)
	}
}

// TestOldStores: a key of before there were times signs on, and the next one is made.
func TestOldStores(t *testing.T) {
	w := newWorld(t)
	w.must(w.store.UpdateSigningKeys(t.Context(), authz.SigningKey{ID: "1"}, authz.SigningKey{ID: "2", Withdrawn: evening}))
	s := w.other(authz.Options{KeyEvery: time.Second}) // bounded below
	if got := w.signs(s) + ": " + w.states(s); got != "1: 3 waits, 2 withdrawn, 1 signs" {
		t.Error(got)
	}
	keys, err := s.Keys(t.Context())
	w.must(err)
	if got := keys[0].From; !got.Equal(evening.Add(authz.MinKeyEvery)) {
		t.Errorf("the next signs from %v", got)
	}
}

// TestDevicesKeepTheirKeys: a device that is told of no new keys is signed for with those it has, for years (R10, R87).
func TestDevicesKeepTheirKeys(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	public, ids, err := w.server.DeviceKeys(ctx)
	w.must(err)
	if !slices.Equal(ids, []string{"1", "2"}) || len(public) != 2 || string(public[1].ID()) != "2" {
		t.Fatalf("a device gets %v", ids)
	}
	shapes := map[byte]provision.Shape{2: provision.ShapeSign1, 3: provision.ShapeSign1ECDH, 4: provision.ShapeJWT}
	readers := map[byte]reader{}
	for n, shape := range shapes {
		w.device(n, func(d *authz.Device) { d.Shape, d.SigningKeys = shape, ids })
		w.give(func(g *authz.Grant) { toGateway(g); g.Device = deviceID(n) }, view)
		readers[n] = w.reader(n) // its keys are those of today
	}
	for season := range 8 {
		for n, shape := range shapes {
			out := w.granted(w.gateway, own(n))
			if _, _, _, err := readers[n].open(shape, out.AccessToken); err != nil {
				t.Errorf("season %d, %v: %v", season, shape, err)
			}
			// The server still reads what it signed with a key that it does not publish any more.
			got, err := w.server.Introspect(ctx, authz.Asker{Device: deviceID(n), Encoding: authz.EncodingCBOR}, out.AccessToken)
			if err != nil || !got.Active {
				t.Errorf("season %d, %v: not active, %v", season, shape, err)
			}
		}
		w.clock.move(authz.KeyEvery)
	}
	if got := w.states(w.server); !strings.HasSuffix(got, "2 over, 1 over") {
		t.Error(got)
	}
	keys, err := w.server.Keys(ctx)
	w.must(err)
	if last := keys[len(keys)-2]; last.ID != "2" || last.Devices != 3 {
		t.Errorf("key %s is needed by %d devices", last.ID, last.Devices)
	}
}

// TestCompromise is F110 and R91: one call, and nothing under the key counts, while tokens go on.
func TestCompromise(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	other, third := w.other(authz.Options{}), w.other(authz.Options{})
	w.device(2, func(d *authz.Device) { d.Shape = provision.ShapeSign1 }) // fetches the set
	w.device(3, func(d *authz.Device) { d.Shape, d.SigningKeys = provision.ShapeSign1, []string{"1", "2"} })
	w.device(4, func(d *authz.Device) { d.Shape, d.SigningKeys = provision.ShapeSign1, []string{"1"} })
	for n := range byte(4) {
		w.give(func(g *authz.Grant) { toGateway(g); g.Device = deviceID(n + 1) }, view)
	}
	var tokens [5][]byte
	for n := byte(1); n <= 4; n++ {
		tokens[n] = w.granted(w.gateway, own(n)).AccessToken
	}
	if _, err := w.server.CompromiseKeys(ctx, "1", "7"); !errors.Is(err, authz.ErrNotFound) || w.signs(w.server) != "1" {
		t.Errorf("unknown key: %v", err)
	}
	got, err := w.server.CompromiseKeys(ctx, "1")
	w.must(err)
	want := authz.Compromise{Withdrawn: []string{"1"}, Signs: "2", Tokens: 3, Devices: []string{audience(3), audience(4)}, Mute: []string{audience(4)}}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if w.signs(w.server) != "2" || w.published(w.server) != "3 2" || w.states(w.server) != "3 waits, 2 signs, 1 withdrawn" {
		t.Errorf("%s signs, published %s, %s", w.signs(w.server), w.published(w.server), w.states(w.server))
	}
	// The other process has not looked yet: what it mints is signed with a key that counts all the same.
	out, err := other.Token(ctx, authz.Caller{Client: w.gateway}, own(2))
	w.must(err)
	if _, _, _, err := w.reader(2).open(provision.ShapeSign1, out.AccessToken); err != nil {
		t.Errorf("signed by the other process: %v", err)
	}
	for n := byte(1); n <= 4; n++ {
		active, err := other.Introspect(ctx, authz.Asker{Device: deviceID(n), Encoding: authz.EncodingCBOR}, tokens[n])
		if err != nil || active.Active != (n == 1) {
			t.Errorf("device %d: active %v, %v", n, active != nil && active.Active, err)
		}
	}
	if _, _, _, err := w.reader(2).open(provision.ShapeSign1, tokens[2]); err == nil {
		t.Error("a stranger with the new set takes a token of the old key")
	}
	// Who knows another of our keys goes on, who knows none is refused before anything is spent.
	w.granted(w.gateway, own(3))
	_, err = w.token(w.gateway, own(4))
	w.refused(err, ace.InvalidRequest, "the device knows none of the keys that this server signs with")

	again, err := w.server.CompromiseKeys(ctx, "1")
	w.must(err)
	if again.Tokens != 0 || again.Signs != "2" {
		t.Errorf("again: %+v", again)
	}
	// All there are at once, also the one that nobody has seen sign.
	all, err := w.server.CompromiseKeys(ctx, "3", "2")
	w.must(err)
	if all.Signs != "4" || w.states(w.server) != "5 waits, 4 signs, 3 withdrawn, 2 withdrawn, 1 withdrawn" {
		t.Errorf("%+v: %s", all, w.states(w.server))
	}
	// A third one that only reads notices within seconds what the others sign with.
	w.clock.move(authz.KeyReload)
	active, err := third.Introspect(ctx, authz.Asker{Device: deviceID(2), Encoding: authz.EncodingCBOR}, w.granted(w.gateway, own(2)).AccessToken)
	if err != nil || !active.Active || w.published(third) != "5 4" {
		t.Errorf("read by another process: %v, %v", active, err)
	}
}

// TestRotationUnderLoad is F109: keys change all the time, in one process and in another, while tokens are made in both. A
// verifier that keeps the set for as long as it may takes every one, and none is taken that is older than its key's
// withdrawal.
func TestRotationUnderLoad(t *testing.T) {
	w := newWorld(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	w.device(2, func(d *authz.Device) { d.Shape = provision.ShapeJWT })
	w.give(func(g *authz.Grant) { toGateway(g); g.Device = deviceID(2) }, view)
	servers := []*authz.Server{w.server, w.other(authz.Options{})}
	var failed atomic.Int64
	verified := make(chan struct{})
	var load sync.WaitGroup
	for i := range 4 {
		v := relyingParty{w: w, from: servers[i%2]}
		load.Go(func() {
			for ctx.Err() == nil {
				out, err := servers[(i+1)%2].Token(context.WithoutCancel(ctx), authz.Caller{Client: w.gateway}, own(2))
				if err == nil {
					err = v.verify(string(out.AccessToken))
				}
				if err != nil {
					failed.Add(1)
					t.Error(err)
				}
				if failed.Load() > 0 {
					stop()
				}
				select {
				case verified <- struct{}{}:
				case <-ctx.Done():
				}
			}
		})
	}
	const rotations = 20
	for n := range rotations {
		_, err := servers[n%2].RotateKeys(t.Context())
		w.must(err)
		for range 4 {
			for range 3 { // the load goes on in between
				select {
				case <-verified:
				case <-ctx.Done():
				}
			}
			w.clock.move(authz.KeyLead / 4)
		}
	}
	stop()
	load.Wait()
	if got := w.signs(w.server); got != strconv.Itoa(rotations+1) || failed.Load() != 0 {
		t.Errorf("after %d rotations key %s signs; %d failed", rotations, got, failed.Load())
	}
}

// relyingParty keeps the published set for KeySetLife.
type relyingParty struct {
	w    *world
	from *authz.Server
	set  *jose.Set
	at   time.Time
}

func (v *relyingParty) verify(token string) error {
	if now := v.w.clock.now(); v.set == nil || now.Sub(v.at) >= authz.KeySetLife {
		set, err := v.from.KeySet(context.Background())
		if err != nil {
			return err
		}
		v.set, v.at = set, now
	}
	_, err := jose.Verify(token, jose.Expect{Type: jose.TypeAccessToken, Keys: v.set.Find})
	return err
}
