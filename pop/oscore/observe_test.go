package oscore

import (
	"bytes"
	"errors"
	"testing"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"pgregory.net/rapid"
)

func observe(value ...byte) message.Message {
	m := get("door")
	m.Options = message.Options{{ID: message.Observe, Value: value}, m.Options[0]}
	return m
}

func notification(payload string, value ...byte) message.Message {
	m := content(payload)
	m.Options = message.Options{{ID: message.Observe, Value: value}}
	return m
}

// observed begins an observation and returns both ends of it.
func observed(t testing.TB) (client, server *Context, asked, x *Exchange) {
	t.Helper()
	client, server = pair(t, nil)
	request, asked := mustRequest(t, client, observe())
	_, x = mustUnprotect(t, server, request)
	return client, server, asked, x
}

func notify(t testing.TB, c *Context, x *Exchange, m message.Message) message.Message {
	t.Helper()
	outer, err := c.ProtectResponse(x, m, false)
	if err != nil {
		t.Fatal(err)
	}
	return outer
}

func outerObserve(m message.Message) []byte {
	if o := observeOf(m.Options); o != nil {
		return append([]byte{}, o.Value...)
	}
	return nil
}

func TestRegistrationIsVisibleToProxies(t *testing.T) {
	for name, c := range map[string]struct {
		value     []byte
		registers bool
	}{
		"registration":             {nil, true},
		"registration written out": {[]byte{0}, true},
		"cancellation":             {[]byte{1}, false},
	} {
		client, server := pair(t, nil)
		outer, asked := mustRequest(t, client, observe(c.value...))
		if outer.Code != codeFETCH || !bytes.Equal(outerObserve(outer), c.value) {
			t.Errorf("%s: outer code %v and Observe %x, want FETCH and %x", name, outer.Code, outerObserve(outer), c.value)
		}
		inner, x := mustUnprotect(t, server, outer)
		if inner.Code != codes.GET || !bytes.Equal(outerObserve(inner), c.value) || len(inner.Options) != 2 {
			t.Errorf("%s: inner message %+v", name, inner)
		}
		if asked.Observes() != c.registers || x.Observes() != c.registers {
			t.Errorf("%s: registers %v at the client and %v at the server, want %v", name, asked.Observes(), x.Observes(), c.registers)
		}
	}
}

// RFC 8613 §4.1.3.5.1: who removes or adds the outer option changes nothing.
func TestOuterObserveProvesNothing(t *testing.T) {
	client, server := pair(t, nil)
	outer, _ := mustRequest(t, client, observe())
	outer.Options = outer.Options.Remove(message.Observe)
	if _, x := mustUnprotect(t, server, outer); !x.Observes() {
		t.Error("without the outer option it is no registration")
	}
	outer, _ = mustRequest(t, client, get("door"))
	outer.Options = outer.Options.Add(message.Option{ID: message.Observe})
	if inner, x := mustUnprotect(t, server, outer); x.Observes() || observeOf(inner.Options) != nil {
		t.Error("with an outer option it is a registration")
	}
}

func TestNotifications(t *testing.T) {
	client, server, asked, x := observed(t)
	for i := range byte(3) {
		outer := notify(t, server, x, notification("state", 7+i))
		if outer.Code != codes.Content || !bytes.Equal(outerObserve(outer), []byte{7 + i}) {
			t.Errorf("outer code %v and Observe %x", outer.Code, outerObserve(outer))
		}
		if first := i == 0; (optionOf(t, outer).PartialIV == nil) != first {
			t.Errorf("notification %d has partial iv %x", i, optionOf(t, outer).PartialIV)
		}
		outer.Options = outer.Options.Set(message.Option{ID: message.Observe, Value: []byte{0xff}})
		inner, err := client.UnprotectNotification(asked, outer)
		if err != nil {
			t.Fatal(err)
		}
		if string(inner.Payload) != "state" || inner.Code != codes.Content || len(inner.Options) != 1 || len(outerObserve(inner)) != 0 {
			t.Errorf("inner message %+v", inner)
		}
		if _, err := client.UnprotectNotification(asked, outer); !errors.Is(err, ErrReplay) {
			t.Errorf("notification %d again: got %v, want %v", i, err, ErrReplay)
		}
	}
}

func TestOlderNotificationIsDropped(t *testing.T) {
	client, server, asked, x := observed(t)
	var sent []message.Message
	for range 4 {
		sent = append(sent, notify(t, server, x, notification("state")))
	}
	for _, step := range []struct {
		notification int
		want         error
	}{{1, nil}, {0, ErrReplay}, {3, nil}, {2, ErrReplay}, {3, ErrReplay}} {
		if _, err := client.UnprotectNotification(asked, sent[step.notification]); !errors.Is(err, step.want) {
			t.Errorf("notification %d: got %v, want %v", step.notification, err, step.want)
		}
	}
}

// The first notification may lack a Partial IV; it is the oldest, and comes once.
func TestNotificationOrderAgreesWithModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		client, server, asked, x := observed(t)
		ownPIV := rapid.Bool().Draw(r, "first has partial iv")
		sent := make([]message.Message, 12)
		for i := range sent {
			var err error
			if sent[i], err = server.ProtectResponse(x, notification("state"), ownPIV); err != nil {
				r.Fatal(err)
			}
		}
		newest := -1
		for _, i := range rapid.SliceOf(rapid.IntRange(0, len(sent)-1)).Draw(r, "arrivals") {
			_, err := client.UnprotectNotification(asked, sent[i])
			if accepted := err == nil; accepted != (i > newest) {
				r.Fatalf("notification %d after %d: %v", i, newest, err)
			}
			newest = max(newest, i)
		}
	})
}

func TestEndOfObservation(t *testing.T) {
	for name, last := range map[string]message.Message{
		"no observe": content("last"),
		"an error":   {Code: codes.NotFound, Options: message.Options{{ID: message.Observe}}},
	} {
		client, server, asked, x := observed(t)
		if _, err := client.UnprotectNotification(asked, notify(t, server, x, notification("state"))); err != nil {
			t.Fatal(err)
		}
		outer := notify(t, server, x, last)
		if outer.Code != codes.Changed || outerObserve(outer) != nil {
			t.Errorf("%s: outer code %v and Observe %x", name, outer.Code, outerObserve(outer))
		}
		if optionOf(t, outer).PartialIV == nil {
			t.Errorf("%s: no partial iv", name)
		}
		if inner, err := client.UnprotectNotification(asked, outer); err != nil || inner.Code != last.Code || outerObserve(inner) != nil {
			t.Errorf("%s: %+v, %v", name, inner, err)
		}
		if _, err := client.UnprotectNotification(asked, notify(t, server, x, notification("state"))); !errors.Is(err, ErrReplay) {
			t.Errorf("%s: a notification after it: got %v, want %v", name, err, ErrReplay)
		}
	}
}

// A peer that leaves Observe in an error has ended the observation all the same (RFC 7641 §4.2).
func TestErrorEndsTheObservationWhateverItCarries(t *testing.T) {
	client, server, asked, x := observed(t)
	outer := notify(t, server, x, notification("state"))
	plaintext := []byte{byte(codes.NotFound), 0x60}
	outer.Payload = server.keys().send.Seal(nil, x.nonce[:], plaintext, x.aad[:x.aadSize])
	if inner, err := client.UnprotectNotification(asked, outer); err != nil || inner.Code != codes.NotFound {
		t.Fatalf("%+v, %v", inner, err)
	}
	if _, err := client.UnprotectNotification(asked, notify(t, server, x, notification("state"))); !errors.Is(err, ErrReplay) {
		t.Errorf("a notification after it: got %v, want %v", err, ErrReplay)
	}
}

// Two copies of a notification may both pass the check before decryption; one passes the check after it.
func TestNotificationIsCheckedAgainAfterDecryption(t *testing.T) {
	var x Exchange
	for _, step := range []struct {
		rank uint64
		last bool
		want bool
	}{{withoutIV, false, true}, {withoutIV, false, false}, {5, false, true}, {5, false, false}, {4, false, false}, {6, true, true}, {7, false, false}} {
		if got := x.accept(step.rank, step.last); got != step.want {
			t.Errorf("rank %d: got %v, want %v", step.rank, got, step.want)
		}
	}
}

// RFC 8613 §8.4.2: an error does not cancel the observation.
func TestForgedNotificationLeavesTheObservation(t *testing.T) {
	client, server, asked, x := observed(t)
	_ = notify(t, server, x, notification("first"))
	outer := notify(t, server, x, notification("state"))
	forged := outer
	forged.Payload = append(bytes.Clone(outer.Payload[:1]), make([]byte, len(outer.Payload)-1)...)
	if _, err := client.UnprotectNotification(asked, forged); !errors.Is(err, ErrDecrypt) {
		t.Errorf("forged: got %v, want %v", err, ErrDecrypt)
	}
	if _, err := client.UnprotectNotification(asked, content("state")); !errors.Is(err, ErrNotProtected) {
		t.Errorf("unprotected: got %v, want %v", err, ErrNotProtected)
	}
	if _, err := client.UnprotectNotification(asked, outer); err != nil {
		t.Errorf("the true one: %v", err)
	}
}

func TestNotificationNobodyAskedFor(t *testing.T) {
	client, server := pair(t, nil)
	request, asked := mustRequest(t, client, get("door"))
	_, x := mustUnprotect(t, server, request)
	if outer := notify(t, server, x, notification("state")); outer.Code != codes.Changed || outerObserve(outer) != nil {
		t.Errorf("outer code %v and Observe %x", outer.Code, outerObserve(outer))
	}
	x.observes = true // a server that does not know what it does
	outer := notify(t, server, x, notification("state"))
	for name, unprotect := range map[string]func(*Exchange, message.Message) (message.Message, error){
		"as notification": client.UnprotectNotification, "as response": client.UnprotectResponse,
	} {
		if _, err := unprotect(asked, outer); !errors.Is(err, ErrInner) {
			t.Errorf("%s: got %v, want %v", name, err, ErrInner)
		}
	}
}

func TestNotificationOfAnotherObservation(t *testing.T) {
	client, server, _, x := observed(t)
	_, other := mustRequest(t, client, observe())
	if _, err := client.UnprotectNotification(other, notify(t, server, x, notification("state"))); !errors.Is(err, ErrDecrypt) {
		t.Errorf("got %v, want %v", err, ErrDecrypt)
	}
}

// RFC 8613 §4.1.3.4: what a proxy adds does not come in, what the sender set does not leak out.
func TestBlockOptionsAreInner(t *testing.T) {
	client, server := pair(t, nil)
	plain := get("door")
	for _, id := range []message.OptionID{message.Block2, message.Block1, message.Size2, message.Size1} {
		plain.Options = plain.Options.Add(message.Option{ID: id, Value: []byte{0x0e}})
	}
	outer, asked := mustRequest(t, client, plain)
	if len(outer.Options) != 1 {
		t.Errorf("outer options %v, want OSCORE alone", outer.Options)
	}
	for _, id := range []message.OptionID{message.Block2, message.Block1, message.Size2, message.Size1} {
		outer.Options = outer.Options.Add(message.Option{ID: id, Value: []byte{0x3d}})
	}
	inner, x := mustUnprotect(t, server, outer)
	if got, want := inner.Options, plain.Options; len(got) != len(want) || outerOf(got, message.Block1) != 0x0e || outerOf(got, message.Size2) != 0x0e {
		t.Errorf("got %v, want %v", got, want)
	}
	answer := notify(t, server, x, content("ok"))
	answer.Options = answer.Options.Add(message.Option{ID: message.Block2, Value: []byte{0x3d}})
	if inner, err := client.UnprotectResponse(asked, answer); err != nil || len(inner.Options) != 0 {
		t.Errorf("response: %v, %v", inner.Options, err)
	}
}

func outerOf(options message.Options, id message.OptionID) byte {
	for _, o := range options {
		if o.ID == id {
			return o.Value[0]
		}
	}
	return 0
}

// A notification without a Partial IV is the oldest: after one that has its own there is none.
func TestOnlyTheFirstNotificationLacksAPartialIV(t *testing.T) {
	client, server, asked, x := observed(t)
	first, err := server.ProtectResponse(x, notification("first"), true)
	if err != nil {
		t.Fatal(err)
	}
	second := notify(t, server, x, notification("second"))
	if optionOf(t, second).PartialIV == nil {
		t.Error("the second notification has no partial iv")
	}
	for _, m := range []message.Message{first, second} {
		if _, err := client.UnprotectNotification(asked, m); err != nil {
			t.Error(err)
		}
	}
}
