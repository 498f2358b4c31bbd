package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"testing"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// device takes every token and answers every request under the context that it has agreed on last.
type device struct {
	t       *testing.T
	secret  []byte
	context *oscore.Context
	lost    bool // answers do not arrive
	nonce2  []byte
}

func (d *device) Exchange(_ context.Context, m message.Message) (message.Message, error) {
	answer := d.answer(m)
	if d.lost {
		return message.Message{}, errLost
	}
	return answer, nil
}

var errLost = errors.New("lost")

func (d *device) answer(m message.Message) message.Message {
	if !m.Options.HasOption(oscore.OptionOSCORE) {
		return d.accept(m)
	}
	_, x, err := d.context.UnprotectRequest(m)
	if err != nil {
		return oscore.ErrorResponse(err)
	}
	response, err := d.context.ProtectResponse(x, message.Message{Code: codes.Content}, false)
	if err != nil {
		d.t.Fatal(err)
	}
	return response
}

func (d *device) accept(m message.Message) message.Message {
	in, err := ace.ParseAuthzInfo(m.Payload)
	if err != nil {
		d.t.Fatal(err)
	}
	answer := ace.AuthzInfoAnswer{Nonce2: d.nonce2, ServerRecipientID: []byte{1, 2}}
	context, err := oscore.New(oscore.Params{
		MasterSecret: d.secret, MasterSalt: pop.MasterSalt(nil, in.Nonce1, answer.Nonce2),
		SenderID: in.ClientRecipientID, RecipientID: answer.ServerRecipientID,
	}, oscore.Options{})
	if err != nil {
		d.t.Fatal(err)
	}
	if !d.lost {
		d.context = context
	}
	payload, err := answer.Encode()
	if err != nil {
		d.t.Fatal(err)
	}
	return coapsec.Content(codes.Created, ace.FormatACE, payload)
}

// meet gives a session that a device has accepted, and what was stored of it last.
func meet(t *testing.T) (*device, *Session, *Saved) {
	t.Helper()
	d := &device{t: t, secret: bytes.Repeat([]byte{5}, 16), nonce2: []byte("nonce2..")}
	stored := new(Saved)
	save := func(s Saved) error {
		*stored = s
		return nil
	}
	s := Restore(Saved{Token: []byte("token"), Secret: d.secret}, save, rand.Reader)
	if err := s.Deliver(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	return d, s, stored
}

func look(t *testing.T, s *Session, d *device) error {
	t.Helper()
	_, err := s.Do(t.Context(), d, coapsec.NewRequest(codes.GET, "/door", coapsec.NoFormat, nil))
	return err
}

// TestLostDeliveryLeavesTheContext: whoever swallows the answer to an upload must not end a session that works.
func TestLostDeliveryLeavesTheContext(t *testing.T) {
	d, s, stored := meet(t)
	d.lost = true
	if err := s.Deliver(t.Context(), d); !errors.Is(err, errLost) {
		t.Fatalf("got %v", err)
	}
	d.lost = false
	if err := look(t, s, d); err != nil {
		t.Fatal(err)
	}
	restarted := Restore(*stored, func(Saved) error { return nil }, rand.Reader)
	if err := look(t, restarted, d); err != nil {
		t.Errorf("after a restart: %v", err)
	}
}

// TestReplacedContextMovesNoNumbers: a request of the old context that is still going on must not set back the numbers of
// the new one, or a restart would use them twice under one key.
func TestReplacedContextMovesNoNumbers(t *testing.T) {
	d, s, stored := meet(t)
	old, err := s.context()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Deliver(t.Context(), d); err != nil { // with the same N2: that half is the device's, or anybody's
		t.Fatal(err)
	}
	for range oscore.ReserveBatch + 1 {
		if err := look(t, s, d); err != nil {
			t.Fatal(err)
		}
	}
	before := stored.Next
	if _, _, err := old.ProtectRequest(message.Message{Code: codes.GET}); !errors.Is(err, errReplaced) {
		t.Errorf("the old context: got %v, want %v", err, errReplaced)
	}
	if stored.Next != before || before < oscore.ReserveBatch+1 {
		t.Errorf("numbers below %d are marked as used, want %d", stored.Next, before)
	}
}

func TestDeviceWithOurOwnIDIsRefused(t *testing.T) {
	_, s, _ := meet(t)
	p := proposal{nonce1: []byte("nonce1.."), recipient: []byte{9}}
	err := s.agree(p, ace.AuthzInfoAnswer{Nonce2: []byte("nonce2.."), ServerRecipientID: []byte{9}})
	if err == nil {
		t.Error("both directions would have one key")
	}
}

func TestSecretsOfASessionAreNotPrinted(t *testing.T) {
	_, _, stored := meet(t)
	if got := stored.String() + stored.GoString(); got != "[redacted][redacted]" {
		t.Errorf("got %s", got)
	}
}
