package coapapi_test

import (
	"testing"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// TestKeySetOverCoAP: a peer that has shown its key gets the public keys alone, to be kept for as long as they are published
// before they sign, in the one format there is.
func TestKeySetOverCoAP(t *testing.T) {
	w := newWorld(t)
	by := w.caller(w.client)
	request := coapsec.NewRequest(codes.GET, ace.PathKeys, coapsec.NoFormat, nil)
	answer := by.ask(request)
	format, err := answer.Options.ContentFormat()
	age, ageErr := answer.Options.GetUint32(message.MaxAge)
	if answer.Code != codes.Content || err != nil || format != 102 || ageErr != nil || age != uint32(authz.KeySetLife.Seconds()) {
		t.Fatalf("got %v in format %v for %d s", answer.Code, format, age)
	}
	set, err := cose.ParseKeySet(answer.Payload)
	if err != nil {
		t.Fatal(err)
	}
	want := w.server.PublicKeys()
	if len(set) != len(want) || len(want) != 2 {
		t.Errorf("%d keys, want %d", len(set), len(want))
	}
	for _, k := range set {
		if k.IsPrivate() || !k.Public().Equal(want[string(k.ID())]) {
			t.Errorf("key %s", k.ID())
		}
	}
	if answer := by.ask(with(request, message.Option{ID: message.Accept, Value: []byte{60}})); answer.Code != codes.NotAcceptable {
		t.Errorf("in CBOR: %v", answer.Code)
	}
}
