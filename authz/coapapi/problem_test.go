package coapapi_test

import (
	"testing"

	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// TestProblemDetails: who is registered for them gets every error of /token as problem details, with the number and words that
// another gets in the old map; what is granted does not change.
func TestProblemDetails(t *testing.T) {
	f := newFaces(t)
	old := f.gateway
	second := f.addClient("second")
	second.Settings.ProblemDetails = true
	if err := f.store.UpdateClient(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	details := f.caller(second)
	refusals := 0
	for _, test := range f.rows() {
		if test.want == 0 {
			continue
		}
		refusals++
		in := test.in()
		payload := encoded(t, in)
		before, after := old.ask(tokenRequest(payload)), details.ask(tokenRequest(payload))
		refusedWith(t, before, codes.BadRequest, test.want)
		format, err := after.Options.ContentFormat()
		got, parseErr := ace.ParseProblemDetails(after.Payload)
		if after.Code != codes.BadRequest || err != nil || format != ace.FormatProblemDetails || parseErr != nil {
			t.Errorf("%s: got %v in format %v, %v", test.name, after.Code, format, parseErr)
			continue
		}
		if got.Code == 0 || got.Description == "" {
			t.Errorf("%s: got %v", test.name, got)
		}
	}
	if refusals < 10 {
		t.Errorf("only %d refusals", refusals)
	}
	cut := details.ask(tokenRequest([]byte{0xa1}))
	if got, err := ace.ParseProblemDetails(cut.Payload); err != nil || got.Code != ace.InvalidRequest {
		t.Errorf("what cannot be read: got %v, %v", got, err)
	}
}
