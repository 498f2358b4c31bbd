package authz_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

const tooShort = "the grant ends sooner than this device, which has no clock, could tell; ask at the device with a cnonce"

// TestTimeBounds is D16: what each kind of clock gets for a grant of each length.
func TestTimeBounds(t *testing.T) {
	const exi = 2 * time.Hour
	nonce := []byte{1}
	tests := []struct {
		name    string
		clock   provision.Clock
		lasts   time.Duration // of the grant; 0: for good
		cnonce  []byte
		expires time.Duration // exp − iat; 0: refused
		told    time.Duration // expires_in
	}{
		{"with a clock, for good", provision.ClockSynced, 0, nil, authz.TokenLife, authz.TokenLife},
		{"with a clock, a day", provision.ClockSynced, 24 * time.Hour, nil, authz.TokenLife, authz.TokenLife},
		{"with a clock, ten minutes", provision.ClockSynced, 10 * time.Minute, nil, 10 * time.Minute, 10 * time.Minute},
		{"with a clock, a second", provision.ClockSynced, time.Second, nil, time.Second, time.Second},
		{"without, for good", provision.ClockNone, 0, nil, exi + authz.HoldLife, exi},
		{"without, a week", provision.ClockNone, 7 * 24 * time.Hour, nil, exi + authz.HoldLife, exi},
		{"without, longer than exi", provision.ClockNone, exi + time.Second, nil, exi + time.Second, exi},
		{"without, exactly exi", provision.ClockNone, exi, nil, exi, exi},
		{"without, a second less", provision.ClockNone, exi - time.Second, nil, 0, 0},
		{"without, a second less, with a nonce", provision.ClockNone, exi - time.Second, nonce, exi - time.Second, exi - time.Second},
		{"without, a second, with a nonce", provision.ClockNone, time.Second, nonce, time.Second, time.Second},
		{"counting, exactly exi", provision.ClockRelative, exi, nil, exi, exi},
		{"counting, a second less", provision.ClockRelative, exi - time.Second, nil, 0, 0},
		{"counting, with an empty nonce", provision.ClockRelative, time.Minute, []byte{}, time.Minute, time.Minute},
	}
	w := newWorld(t)
	for i, tt := range tests {
		n := byte(10 + i)
		t.Run(tt.name, func(t *testing.T) {
			w.device(n, func(d *authz.Device) { d.Name, d.Clock, d.ExpiresIn = fmt.Sprint("device ", n), tt.clock, exi })
			w.give(func(g *authz.Grant) {
				toGateway(g)
				if g.Device = deviceID(n); tt.lasts > 0 {
					g.Until = evening.Add(tt.lasts)
				}
			}, view)
			in := own(n)
			in.CNonce = tt.cnonce
			out, err := w.token(w.gateway, in)
			if tt.expires == 0 {
				w.refused(err, ace.InvalidScope, tooShort)
				return
			}
			w.must(err)
			c, _, _, err := w.reader(n).open(provision.ShapeEncrypt0, out.AccessToken)
			w.must(err)
			if got := c.Expires.Sub(c.IssuedAt); got != tt.expires || out.ExpiresIn != tt.told || !c.NotBefore.IsZero() {
				t.Errorf("exp − iat = %v, expires_in %v, nbf %v; want %v, %v and none", got, out.ExpiresIn, c.NotBefore, tt.expires, tt.told)
			}
			if want := tt.clock != provision.ClockSynced; (c.ExpiresIn == exi) != want || (c.ExpiresIn == 0) == want {
				t.Errorf("exi %v", c.ExpiresIn)
			}
			if (c.CNonce == nil) != (tt.cnonce == nil) || !bytes.Equal(c.CNonce, tt.cnonce) {
				t.Errorf("cnonce %x, want %x", c.CNonce, tt.cnonce)
			}
		})
	}
}

// TestNothingOutlivesItsGrant: at any moment within a second, exp is not after the grant's end nor expires_in after exp.
func TestNothingOutlivesItsGrant(t *testing.T) {
	w := newWorld(t)
	until := evening.Add(10*time.Second + 700*time.Millisecond)
	w.give(func(g *authz.Grant) { toGateway(g); g.Until = until }, view)
	granted := 0
	for ; w.clock.now().Before(until); w.clock.move(200 * time.Millisecond) {
		now := w.clock.now()
		out, err := w.token(w.gateway, own(1))
		if err != nil {
			w.refused(err, ace.InvalidScope, "the grant has ended")
			if left := until.Sub(now); left > 1700*time.Millisecond {
				t.Errorf("refused %v before the end", left)
			}
			continue
		}
		granted++
		c, _, _, err := w.reader(1).open(provision.ShapeEncrypt0, out.AccessToken)
		w.must(err)
		switch {
		case c.Expires.After(until):
			t.Errorf("exp %v is after the grant's end", c.Expires)
		case c.IssuedAt.After(now):
			t.Errorf("iat %v is after now", c.IssuedAt)
		case out.ExpiresIn < time.Second || out.ExpiresIn != c.Expires.Sub(c.IssuedAt):
			t.Errorf("expires_in %v, exp %v, iat %v", out.ExpiresIn, c.Expires, c.IssuedAt)
		}
		checkAnswer(t, out)
	}
	if granted == 0 {
		t.Error("nothing was granted at all")
	}
	if _, err := w.token(w.gateway, own(1)); err == nil {
		t.Error("granted after the end")
	}
}

// TestLastSecondLeavesTheCode: a token that could not live a second is refused, and the code is not lost for it.
func TestLastSecondLeavesTheCode(t *testing.T) {
	w := newWorld(t)
	g := w.give(func(g *authz.Grant) { g.Until = evening.Add(30*time.Second + 500*time.Millisecond) }, unlock)
	code := w.code()
	w.clock.move(30*time.Second + 100*time.Millisecond)
	_, err := w.token(w.phone, redemption(code))
	w.refused(err, ace.InvalidScope, "the grant has ended")
	row, err := w.store.Code(t.Context(), hashOf(code))
	if err != nil || !row.ConsumedAt.IsZero() || row.Grant != g.ID {
		t.Errorf("code %+v, %v", row, err)
	}
}

func TestGrantThatHasNotBegun(t *testing.T) {
	w := newWorld(t)
	w.device(2, func(d *authz.Device) { d.Clock = provision.ClockNone })
	for n := range byte(2) {
		w.give(func(g *authz.Grant) { toGateway(g); g.Device, g.From = deviceID(n+1), evening.Add(time.Minute) }, view)
	}
	w.clock.move(time.Minute - time.Millisecond)
	for n := range byte(2) {
		_, err := w.token(w.gateway, own(n+1))
		w.refused(err, ace.InvalidScope, "the grant has not begun")
	}
	w.clock.move(time.Millisecond)
	for n := range byte(2) {
		w.granted(w.gateway, own(n+1))
	}
}

// TestRequiredNonce: such a device gets no token without its nonce, and the nonce byte for byte (T-9200-4).
func TestRequiredNonce(t *testing.T) {
	w := newWorld(t)
	for i, s := range allShapes {
		n := byte(2 + i)
		w.device(n, func(d *authz.Device) { d.Shape, d.Private, d.RequireCNonce = s.shape, s.private, true })
		w.give(func(g *authz.Grant) { toGateway(g); g.Device = deviceID(n) }, view)
		_, err := w.token(w.gateway, own(n))
		w.refused(err, ace.InvalidRequest, "cnonce is missing: ask the device for one first")
		for _, nonce := range [][]byte{{}, {0}, bytes.Repeat([]byte{0xff, 0}, 20), bytes.Repeat([]byte{7}, 64)} {
			in := own(n)
			in.CNonce = nonce
			c, _, _, err := w.reader(n).open(s.shape, w.granted(w.gateway, in).AccessToken)
			w.must(err)
			if c.CNonce == nil || !bytes.Equal(c.CNonce, nonce) {
				t.Errorf("%s: cnonce %x, want %x", s.name, c.CNonce, nonce)
			}
		}
	}
}

func TestTokenLifeIsBounded(t *testing.T) {
	w := newWorld(t)
	w.give(toGateway, view)
	for _, tt := range []struct{ set, want time.Duration }{{10 * time.Minute, 10 * time.Minute}, {0, authz.TokenLife}, {-1, authz.TokenLife}, {48 * time.Hour, authz.TokenLife}} {
		w.serve(authz.Options{TokenLife: tt.set})
		if got := w.granted(w.gateway, own(1)).ExpiresIn; got != tt.want {
			t.Errorf("TokenLife %v: got %v, want %v", tt.set, got, tt.want)
		}
	}
}

// TestDefaultEXI: a record without exi means a working day.
func TestDefaultEXI(t *testing.T) {
	w := newWorld(t)
	w.device(2, func(d *authz.Device) { d.Clock = provision.ClockNone })
	w.give(func(g *authz.Grant) { toGateway(g); g.Device = deviceID(2) }, view)
	if got := w.granted(w.gateway, own(2)).ExpiresIn; got != authz.DefaultEXI {
		t.Errorf("got %v", got)
	}
}

// TestClockThatWentBack is D4: minting stops, which is the operator's business and tells the client nothing.
func TestClockThatWentBack(t *testing.T) {
	w := newWorld(t)
	w.give(toGateway, view)
	w.granted(w.gateway, own(1))
	w.clock.move(-2 * time.Hour)
	if _, err := w.token(w.gateway, own(1)); !errors.Is(err, authz.ErrClockStepped) || errors.As(err, new(*ace.Error)) {
		t.Errorf("got %v", err)
	}
}

// TestClockThatWasSet is the other half of D4: a clock that is set by more than an hour between two mints, either way, stops them
// until the server starts again; time that passes does not, however long.
func TestClockThatWasSet(t *testing.T) {
	for name, set := range map[string]time.Duration{"ahead": authz.ClockMove + time.Second, "back": -authz.ClockMove - time.Second} {
		w, slept := newWorld(t), time.Duration(0)
		w.give(toGateway, view)
		start := w.clock.now()
		options := authz.Options{Uptime: func() time.Duration { return w.clock.now().Sub(start) - slept }}
		w.serve(options)
		w.granted(w.gateway, own(1))
		for _, passed := range []time.Duration{time.Minute, 30 * 24 * time.Hour} {
			w.clock.move(passed)
			w.give(toGateway, view)
			w.granted(w.gateway, own(1))
		}
		for _, nudged := range []time.Duration{59 * time.Minute, -59 * time.Minute} {
			w.clock.move(nudged)
			slept += nudged
			w.granted(w.gateway, own(1))
		}
		for _, set := range []time.Duration{set, -set} { // set right again is too late: a wrong time may be on record
			w.clock.move(set)
			slept += set
			if _, err := w.token(w.gateway, own(1)); !errors.Is(err, authz.ErrClockMoved) || errors.As(err, new(*ace.Error)) {
				t.Errorf("%s: got %v", name, err)
			}
		}
		w.serve(options)
		w.granted(w.gateway, own(1))
	}
}
