package coapsec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// end is one end of a channel: what it serves, and its way to the other end.
type end struct {
	channel *Channel
	door    *door
	link    *link
}

func (e *end) exchange(t testing.TB) message.Message {
	t.Helper()
	answer, err := e.channel.Exchange(context.Background(), e.link, unlock())
	if err != nil {
		t.Fatal(err)
	}
	if answer.Code != codes.Changed || string(answer.Payload) != "open" {
		t.Fatalf("got %v %q", answer.Code, answer.Payload)
	}
	return answer
}

func (e *end) idContext() string {
	c, _ := e.channel.present()
	if c == nil {
		return ""
	}
	return fmt.Sprintf("%x", c.IDContext())
}

const serverKID, deviceKID = 0xa5, 0xde

// restart makes an end anew, with an empty memory; other then reaches it.
func restart(other *end, sender, recipient byte) *end {
	root := oscore.Params{MasterSecret: secret, SenderID: []byte{sender}, RecipientID: []byte{recipient}}
	e := &end{channel: NewChannel(root, ChannelOptions{Device: sender == deviceKID}), door: &door{}}
	s := NewSecurity(byKID{string([]byte{recipient}): e.channel}, HandlerFunc(plainOK), e.door, SecurityOptions{})
	e.link = &link{address: fmt.Sprintf("end %x", sender)}
	if other != nil {
		e.link.to = other.link.local
		other.link.to = s
	}
	e.link.local = s
	return e
}

func ends() (server, device *end) {
	server = restart(nil, serverKID, deviceKID)
	return server, restart(server, deviceKID, serverKID)
}

func restartServer(device *end) *end { return restart(device, serverKID, deviceKID) }
func restartDevice(server *end) *end { return restart(server, deviceKID, serverKID) }

// agree checks that both ends have one context and that it works both ways at the cost of one message each.
func agree(t testing.TB, server, device *end) {
	t.Helper()
	if server.idContext() == "" || server.idContext() != device.idContext() {
		t.Fatalf("server has context %s, device %s", server.idContext(), device.idContext())
	}
	for name, e := range map[string]*end{"server": server, "device": device} {
		sent := len(e.link.requests)
		e.exchange(t)
		if n := len(e.link.requests) - sent; n != 1 {
			t.Errorf("%s: %d messages for one exchange", name, n)
		}
	}
}

func TestChannelFromEitherEnd(t *testing.T) {
	for _, c := range []struct {
		name string
		pick func(server, device *end) (from, to *end)
	}{
		{"server first", func(s, d *end) (*end, *end) { return s, d }},
		{"device first", func(s, d *end) (*end, *end) { return d, s }},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, device := ends()
			from, to := c.pick(server, device)
			if from.channel.Established() {
				t.Error("established without a context")
			}
			from.exchange(t)
			if len(from.link.requests) != 2 || to.door.opened() != 1 {
				t.Errorf("%d messages, %d requests handled", len(from.link.requests), to.door.opened())
			}
			if r := to.door.requests[0]; r.Peer.Context == nil || r.Peer.Address != from.link.address {
				t.Errorf("peer %+v", r.Peer)
			}
			agree(t, server, device)
		})
	}
}

func TestChannelAfterRestart(t *testing.T) {
	for _, c := range []struct {
		name            string
		server, device  bool // who restarts
		deviceCallsBack bool
	}{
		{name: "device restarts, server calls", device: true},
		{name: "device restarts and calls", device: true, deviceCallsBack: true},
		{name: "server restarts and calls", server: true},
		{name: "server restarts, device calls", server: true, deviceCallsBack: true},
		{name: "both restart, server calls", server: true, device: true},
		{name: "both restart, device calls", server: true, device: true, deviceCallsBack: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, device := ends()
			server.exchange(t)
			if c.device {
				device = restartDevice(server)
			}
			if c.server {
				server = restartServer(device)
			}
			if c.deviceCallsBack {
				device.exchange(t)
			} else {
				server.exchange(t)
			}
			agree(t, server, device)
		})
	}
}

// Each end starts a run while that of the other is at every possible point.
func TestBothEndsStartAtOnce(t *testing.T) {
	for _, outer := range []string{"server", "device"} {
		for at := range 4 {
			t.Run(fmt.Sprintf("%s's run interrupted at step %d", outer, at), func(t *testing.T) {
				server, device := ends()
				first, second := server, device
				if outer == "device" {
					first, second = device, server
				}
				interrupt := func(step int) func(int, *message.Message) error {
					return func(n int, _ *message.Message) error {
						if 2*n+step == at {
							second.exchange(t)
						}
						return nil
					}
				}
				first.link.before, first.link.after = interrupt(0), interrupt(1)
				first.exchange(t)
				first.link.before, first.link.after = nil, nil
				if server.door.opened() != 1 || device.door.opened() != 1 {
					t.Errorf("server handled %d, device %d, want one each", server.door.opened(), device.door.opened())
				}
				agree(t, server, device)
			})
		}
	}
}

// The server's request #2 arrives after the device has completed a run of its own.
func TestTheDevicesRunWins(t *testing.T) {
	server, device := ends()
	server.link.before = func(n int, _ *message.Message) error {
		if n == 1 {
			device.exchange(t)
		}
		return nil
	}
	server.exchange(t)
	server.link.before = nil
	// request #1, request #2 refused, and the request under the device's context.
	if got := len(server.link.requests); got != 3 {
		t.Errorf("%d messages of the server, want 3", got)
	}
	last, err := deviceOption(server.link.requests[2])
	if err != nil || !mustPresent(t, device).Matches(last) {
		t.Errorf("the last request is not under the device's context: %+v, %v", last, err)
	}
	agree(t, server, device)
}

func deviceOption(m message.Message) (oscore.Option, error) {
	o, _, err := oscore.FindOption(m)
	return o, err
}

func mustPresent(t testing.TB, e *end) *oscore.Context {
	t.Helper()
	c, _ := e.channel.present()
	if c == nil {
		t.Fatal("no context")
	}
	return c
}

// The server completes its run at the device, but sees request #2 of the device before its own response #2.
func TestTheDevicesRunWinsOverALateResponse(t *testing.T) {
	server, device := ends()
	var answerToDevice message.Message
	device.link.before = func(n int, m *message.Message) error {
		if n != 1 {
			return nil
		}
		request2 := *m
		server.link.after = func(n int, _ *message.Message) error {
			if n == 1 {
				answerToDevice = device.link.deliver(request2, device.link.address)
			}
			return nil
		}
		server.exchange(t)
		return nil
	}
	device.link.after = func(n int, m *message.Message) error {
		if n == 1 {
			*m = answerToDevice // the copy that comes now is refused as a replay
		}
		return nil
	}
	device.exchange(t)
	device.link.before, device.link.after, server.link.after = nil, nil, nil
	if server.door.opened() != 1 || device.door.opened() != 1 {
		t.Errorf("server handled %d, device %d, want one each", server.door.opened(), device.door.opened())
	}
	agree(t, server, device)
}

func TestCallsAtOnceShareOneRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, device := ends()
		server.link.before = func(n int, _ *message.Message) error {
			if n == 0 {
				time.Sleep(time.Second) // all others wait meanwhile
			}
			return nil
		}
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				if _, err := server.channel.Exchange(t.Context(), server.link, unlock()); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if got := len(server.link.requests); got != 9 || device.door.opened() != 8 {
			t.Errorf("%d messages for 8 exchanges, want 9; %d handled", got, device.door.opened())
		}
		agree(t, server, device)
	})
}

func TestWaitingForARunEndsWithTheContext(t *testing.T) {
	server, _ := ends()
	server.channel.turn <- struct{}{} // a run that never ends
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := server.channel.Exchange(ctx, server.link, unlock()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func TestBothEndsConvergeUnderConcurrency(t *testing.T) {
	for range 20 {
		server, device := ends()
		var group sync.WaitGroup
		for range 4 {
			for _, e := range []*end{server, device} {
				group.Go(func() {
					// A call may lose against two runs in a row; it must not corrupt anything.
					_, _ = e.channel.Exchange(context.Background(), e.link, unlock())
				})
			}
		}
		group.Wait()
		device.exchange(t)
		server.exchange(t)
		agree(t, server, device)
	}
}

func TestReplaysGiveNothing(t *testing.T) {
	server, device := ends()
	device.exchange(t)
	device.exchange(t)
	server.exchange(t)
	recorded := map[string][]message.Message{"to server": device.link.requests, "to device": server.link.requests}
	check := func(when string) {
		t.Helper()
		handled, contextBefore := server.door.opened()+device.door.opened(), server.idContext()+device.idContext()
		for i, m := range recorded["to server"] {
			if answer := device.link.deliver(m, device.link.address); answer.Code < codes.BadRequest && i != 0 {
				t.Errorf("%s: request %d to the server answered %v", when, i, answer.Code)
			}
		}
		for _, m := range recorded["to device"] {
			server.link.deliver(m, server.link.address)
		}
		if got := server.door.opened() + device.door.opened(); got != handled {
			t.Errorf("%s: %d replayed requests handled", when, got-handled)
		}
		if got := server.idContext() + device.idContext(); got != contextBefore {
			t.Errorf("%s: a replay changed the contexts", when)
		}
	}
	check("at once")
	agree(t, server, device)
	server = restartServer(device)
	check("after a restart of the server")
	device.exchange(t)
	check("after renewal")
	agree(t, server, device)
}

func TestReplayedRequest2WhileTheRunIsOpen(t *testing.T) {
	server, device := ends()
	// The first request #2 is lost to the device; someone else delivers it twice.
	server.link.before = func(n int, m *message.Message) error {
		if n != 1 {
			return nil
		}
		for range 2 {
			server.link.deliver(*m, "attacker")
		}
		return context.DeadlineExceeded
	}
	if _, err := server.channel.Exchange(context.Background(), server.link, unlock()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if device.door.opened() != 1 {
		t.Errorf("request #2 handled %d times, want once", device.door.opened())
	}
	server.link.before = nil
	server.exchange(t)
	agree(t, server, device)
}

func TestFalse4_01DoesNotEndTheContext(t *testing.T) {
	server, device := ends()
	server.exchange(t)
	before := server.idContext()
	server.link.after = func(_ int, m *message.Message) error { *m = oscore.ErrorResponse(oscore.ErrNoContext); return nil }
	var hint *UnprotectedError
	if _, err := server.channel.Exchange(context.Background(), server.link, unlock()); !errors.As(err, &hint) {
		t.Errorf("got %v, want an unprotected error", err)
	}
	server.link.after = nil
	if server.idContext() != before {
		t.Error("the context is gone")
	}
	agree(t, server, device)
}

func TestThreeLostExchangesRenew(t *testing.T) {
	server, device := ends()
	server.exchange(t)
	before := server.idContext()
	server.link.before = func(int, *message.Message) error { return context.DeadlineExceeded }
	for range MaxLostExchanges {
		if _, err := server.channel.Exchange(context.Background(), server.link, unlock()); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
	}
	server.link.before = nil
	server.exchange(t)
	if server.idContext() == before {
		t.Error("the context was not renewed")
	}
	agree(t, server, device)
}

func TestCancelledExchangesAreNotLost(t *testing.T) {
	server, device := ends()
	server.exchange(t)
	before := server.idContext()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for range MaxLostExchanges + 1 {
		if _, err := server.channel.Exchange(ctx, server.link, unlock()); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
	}
	agree(t, server, device)
	if server.idContext() != before {
		t.Error("the context was renewed")
	}
}

// The device keeps the old context until the new one has verified a request (D1).
func TestOldContextServesUntilTheNewOneHas(t *testing.T) {
	server, device := ends()
	server.exchange(t)
	old := mustPresent(t, server)
	early, _ := protect(t, old, unlock())
	late, _ := protect(t, old, unlock())
	// The device renews: three of its exchanges were lost.
	device.channel.lost = MaxLostExchanges
	device.exchange(t)
	handled := device.door.opened()
	server.link.deliver(early, server.link.address)
	if device.door.opened() != handled+1 {
		t.Error("a request under the old context was refused before the new one verified a request")
	}
	server.exchange(t)
	if answer := server.link.deliver(late, server.link.address); string(answer.Payload) != "Security context not found" {
		t.Errorf("a request under the old context afterwards: %v %q", answer.Code, answer.Payload)
	}
}

func TestChannelRefusesAnotherSecret(t *testing.T) {
	server, device := ends()
	server.channel.root.MasterSecret = []byte("another secret..")
	if _, err := server.channel.Exchange(context.Background(), server.link, unlock()); err == nil {
		t.Error("exchanged with another secret")
	}
	if device.channel.Established() || device.door.opened() != 0 {
		t.Error("the device took part")
	}
}

func TestChannelRefusesBrokenRoot(t *testing.T) {
	ch := NewChannel(oscore.Params{MasterSecret: []byte("short"), SenderID: []byte{1}}, ChannelOptions{})
	if _, err := ch.Exchange(context.Background(), nil, unlock()); err == nil {
		t.Error("exchanged with broken parameters")
	}
	if _, err := ch.Accept(context.Background(), message.Message{}, oscore.Option{}); err == nil {
		t.Error("accepted with broken parameters")
	}
}

func TestChannelNeedsRandomness(t *testing.T) {
	server, _ := ends()
	server.channel.random = bytes.NewReader(nil)
	if _, err := server.channel.Exchange(context.Background(), server.link, unlock()); err == nil || len(server.link.requests) != 0 {
		t.Errorf("got %v after %d messages", err, len(server.link.requests))
	}
}

// An Echo asked for over the channel, for instance to verify a new address (D5), is repeated by Exchange.
func TestChannelAnswersChallenges(t *testing.T) {
	server, device := ends()
	server.door.answer = freshOnly
	device.exchange(t)
	if got := server.door.opened(); got != 2 || !server.door.requests[1].Peer.Fresh {
		t.Errorf("%d requests handled", got)
	}
	server.door.answer = nil
	agree(t, server, device)
}
