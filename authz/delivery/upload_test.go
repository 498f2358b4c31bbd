package delivery_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
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

func TestUploadReachesTheDeviceWhereItRegistered(t *testing.T) {
	in := &inbox{}
	w := newWorld(t, in.serve)
	w.upload("token")
	r := in.first()
	path, _ := r.Path()
	format, err := r.Options.ContentFormat()
	if r.Code != codes.POST || path != "/authz-info" || err != nil || format != ace.FormatACE {
		t.Errorf("got %v %s, format %v, %v", r.Code, path, format, err)
	}
	if r.Peer.Context == nil || r.Peer.Address != w.endpoint.LocalAddr().String() {
		t.Errorf("got a request from %s, protected: %v", r.Peer.Address, r.Peer.Context != nil)
	}
	w.device.Move()
	w.upload("still at the old address, which is the registered one")
	w.place()
	w.upload("at the new address")
	if n := len(w.tape.Between("out", w.device.Address())); n != 1 {
		t.Errorf("%d datagrams to the new address, want 1", n)
	}
}

func TestNothingIsSentToADeviceThatIsNotRegistered(t *testing.T) {
	in := &inbox{}
	w := newWorld(t, in.serve)
	now := time.Now()
	address := w.device.Address().String()
	for name, r := range map[string]authz.Registration{
		"never registered":            {},
		"registration ended just now": {Address: address, ExpiresAt: now},
		"registration ended":          {Address: address, ExpiresAt: now.Add(-time.Second)},
	} {
		t.Run(name, func(t *testing.T) {
			engine := delivery.New(w.store, delivery.Options{Now: func() time.Time { return now }})
			engine.Use(w.endpoint)
			record := w.record
			record.Registration = r
			engine.Moved(record.ID, authz.Registration{Address: address, ExpiresAt: now.Add(time.Hour)})
			if _, err := engine.Upload(t.Context(), record, []byte("token")); !errors.Is(err, delivery.ErrOffline) {
				t.Errorf("got %v, want %v", err, delivery.ErrOffline)
			}
			if engine.PeersKept() != 0 {
				t.Error("a channel was made for a device that is not there")
			}
		})
	}
	if sent := w.tape.Between("out", netip.AddrPort{}); len(sent) != 0 || in.all() != 0 {
		t.Errorf("%d datagrams were sent", len(sent))
	}
	if _, err := delivery.New(w.store, delivery.Options{}).Upload(t.Context(), w.record, nil); !errors.Is(err, delivery.ErrOffline) {
		t.Errorf("without a socket: got %v", err)
	}
}

// TestDeadDevice waits for the true time-outs.
func TestDeadDevice(t *testing.T) {
	upload := func(t *testing.T, w *world) {
		t.Helper()
		start := time.Now()
		_, err := w.engine.Upload(context.Background(), w.record, []byte("token"))
		var refused *delivery.RefusedError
		if err == nil || errors.As(err, &refused) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(start); took > authz.UploadTime+500*time.Millisecond {
			t.Errorf("took %v", took)
		}
	}
	t.Run("silent: two datagrams and five seconds", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, (&inbox{}).serve)
		dead := newSilence(t)
		w.register(dead.address(), time.Hour)
		upload(t, w)
		if got := dead.datagrams(); len(got) != 2 || !bytes.Equal(got[0], got[1]) {
			t.Errorf("%d datagrams, want the same one twice", len(got))
		}
	})
	t.Run("silent, with a context: two datagrams and five seconds", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, (&inbox{}).serve)
		w.upload("first")
		dead := newSilence(t)
		w.register(dead.address(), time.Hour)
		upload(t, w)
		if got := dead.datagrams(); len(got) != 2 || !bytes.Equal(got[0], got[1]) {
			t.Errorf("%d datagrams, want the same one twice", len(got))
		}
	})
	t.Run("acknowledges and says no more: five seconds", func(t *testing.T) {
		t.Parallel()
		done := make(chan struct{})
		w := newWorld(t, func(context.Context, *coapsec.Request) message.Message {
			<-done
			return message.Message{Code: codes.Created}
		})
		t.Cleanup(func() { close(done) })
		upload(t, w)
	})
}

func TestDevicesErrorSurfaces(t *testing.T) {
	var answers atomic.Int32
	w := newWorld(t, func(context.Context, *coapsec.Request) message.Message {
		return message.Message{Code: codes.Code(answers.Load()), Payload: []byte("no")}
	})
	for _, answer := range []codes.Code{codes.BadRequest, codes.Unauthorized, codes.Forbidden, codes.NotFound, codes.TooManyRequests, codes.InternalServerError} {
		answers.Store(int32(answer))
		got, err := w.engine.Upload(t.Context(), w.record, []byte("token"))
		var refused *delivery.RefusedError
		if !errors.As(err, &refused) || refused.Code != answer || got != nil {
			t.Errorf("got %q, %v, want %v", got, err, answer)
		}
	}
}

// TestLongPayloadGoesInBlocks: the longest token fits no datagram.
func TestLongPayloadGoesInBlocks(t *testing.T) {
	in := &inbox{brief: true}
	w := newWorld(t, in.serve)
	token := strings.Repeat("0123456789abcdef", ace.MaxToken/16)
	answer, err := w.engine.Upload(t.Context(), w.record, []byte(token))
	if err != nil || string(answer) != "taken " || in.all() != 1 || in.count(token) != 1 {
		t.Errorf("got %q, %v; the device got %d requests, the whole %d times", answer, err, in.all(), in.count(token))
	}
}

func TestUploadsAtOnce(t *testing.T) {
	in := &inbox{}
	w := newWorld(t, in.serve)
	var wait sync.WaitGroup
	for i := range 32 {
		wait.Go(func() {
			payload := fmt.Sprintf("token %d", i)
			answer, err := w.engine.Upload(t.Context(), w.record, []byte(payload))
			if err != nil || string(answer) != "taken "+payload {
				t.Errorf("upload %d: got %q, %v", i, answer, err)
			}
		})
	}
	wait.Wait()
	for i := range 32 {
		if n := in.count(fmt.Sprintf("token %d", i)); n != 1 {
			t.Errorf("token %d arrived %d times", i, n)
		}
	}
	if w.engine.PeersKept() != 1 {
		t.Errorf("%d peers kept, want 1", w.engine.PeersKept())
	}
	w.agree()
}

func TestNewProcessPushesAtOnce(t *testing.T) {
	w := newWorld(t, (&inbox{}).serve)
	w.upload("one")
	for range 3 {
		w.restart()
		w.tape.Rewind()
		w.upload("two")
		if sent := w.tape.Between("out", w.device.Address()); len(sent) != 2 {
			t.Errorf("%d datagrams sent, want request #1 and request #2", len(sent))
		}
		w.agree()
	}
}

func TestRestartedDeviceIsReachedAndReachesInOneExchange(t *testing.T) {
	w := newWorld(t, (&inbox{}).serve)
	w.upload("before")
	w.device.Restart()
	w.upload("after")
	w.agree()
	w.device.Restart()
	w.call()
	w.agree()
	w.restart()
	w.call()
	w.agree()
}

// TestBothEndsStartAtOnce: neither has a context, both call.
func TestBothEndsStartAtOnce(t *testing.T) {
	w := newWorld(t, (&inbox{}).serve)
	for range 25 {
		w.device.Restart()
		w.restart()
		var wait sync.WaitGroup
		wait.Go(func() {
			if answer, err := w.engine.Upload(t.Context(), w.record, []byte("token")); err != nil || string(answer) != "taken token" {
				t.Errorf("server: got %q, %v", answer, err)
			}
		})
		wait.Go(func() {
			if answer, err := w.device.Ask(t.Context(), w.endpoint.LocalAddr(), message.Message{Code: codes.POST}); err != nil || answer.Code != codes.Changed {
				t.Errorf("device: got %v, %v", answer.Code, err)
			}
		})
		wait.Wait()
		w.upload("settled")
		w.agree()
	}
}

func TestAnotherDevicesKeyOpensNothing(t *testing.T) {
	in := &inbox{}
	w := newWorld(t, in.serve)
	record := w.record
	record.RootKey = make([]byte, 32)
	_, _ = rand.Read(record.RootKey)
	var refused *delivery.RefusedError
	if _, err := w.engine.Upload(t.Context(), record, []byte("token")); err == nil || errors.As(err, &refused) {
		t.Errorf("got %v", err)
	}
	if in.all() != 0 {
		t.Error("the device acted")
	}
}

func TestUnansweredAtTheNewAddressIsTriedAtTheOldOne(t *testing.T) {
	for _, test := range []struct {
		name    string
		holds   time.Duration // how long the old registration does
		arrives bool
		there   int // datagrams at the new address
	}{
		{"the old registration would still hold", time.Minute, true, 1},
		{"the old registration would have ended", -time.Second, false, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := &inbox{}
			w := newWorld(t, in.serve)
			w.options.AckTimeout = 400 * time.Millisecond
			w.restart()
			old := w.record.Registration
			old.ExpiresAt = time.Now().Add(test.holds)
			dead := newSilence(t)
			w.register(dead.address(), time.Hour)
			w.engine.Moved(w.record.ID, old)
			_, err := w.engine.Upload(t.Context(), w.record, []byte("token"))
			if (err == nil) != test.arrives || in.count("token") != map[bool]int{true: 1}[test.arrives] {
				t.Errorf("got %v; it arrived %d times", err, in.count("token"))
			}
			if n := len(dead.datagrams()); n != test.there {
				t.Errorf("%d datagrams to the new address, want %d", n, test.there)
			}
		})
	}
}

// TestMovedBackIsOneAddress: the device is where it was before, and both transmissions go there.
func TestMovedBackIsOneAddress(t *testing.T) {
	w := newWorld(t, (&inbox{}).serve)
	w.options.AckTimeout = 50 * time.Millisecond
	w.restart()
	dead := newSilence(t)
	w.register(dead.address(), time.Hour)
	w.engine.Moved(w.record.ID, w.record.Registration)
	if _, err := w.engine.Upload(t.Context(), w.record, []byte("token")); !errors.Is(err, coapsec.ErrNoAnswer) {
		t.Errorf("got %v, want %v", err, coapsec.ErrNoAnswer)
	}
	if got := dead.datagrams(); len(got) != 2 || !bytes.Equal(got[0], got[1]) {
		t.Errorf("%d datagrams, want the same one twice", len(got))
	}
}

var _ authz.Deliverer = (*delivery.Engine)(nil)
var _ coapsec.Contexts = (*delivery.Engine)(nil)
var _ coapsec.Contexts = (*deliverytest.Device)(nil)
