package ace_test

import (
	"encoding/hex"
	"reflect"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/ace"
)

// TestProblemDetails: the map of the workflow draft, to the byte and back.
func TestProblemDetails(t *testing.T) {
	for _, tt := range []struct {
		in   ace.Error
		want string
	}{
		{ace.Error{Code: ace.InvalidGrant}, "a102a10003"},
		{ace.Error{Code: ace.InvalidRequest, Description: "no"}, "a202a1000121626e6f"},
		{ace.Error{Code: ace.InvalidClient, Description: "no", URI: "u"}, "a302a1000221626e6f226175"},
	} {
		data, err := tt.in.ProblemDetails()
		if err != nil || hex.EncodeToString(data) != tt.want {
			t.Errorf("%v: got %x, %v, want %s", &tt.in, data, err, tt.want)
		}
		got, err := ace.ParseProblemDetails(data)
		if err != nil || !reflect.DeepEqual(*got, tt.in) {
			t.Errorf("%v came back as %v, %v", &tt.in, got, err)
		}
		for n := range data {
			if _, err := ace.ParseProblemDetails(data[:n]); err == nil {
				t.Errorf("cut at %d it is read", n)
			}
		}
	}
	if data, err := (&ace.Error{Code: ace.ServerError}).ProblemDetails(); err == nil {
		t.Errorf("a code without a number became %x", data)
	}
}

func TestProblemDetailsRefused(t *testing.T) {
	for name, item := range map[string]string{
		"the old map":        "a1181e03",
		"nothing":            "a0",
		"no code":            "a102a0",
		"a code of 0":        "a102a10000",
		"a negative code":    "a102a10020",
		"a code too large":   "a102a1001a00010000",
		"a text for a code":  "a102a1006161",
		"no map inside":      "a10203",
		"a key twice":        "a202a1000302a10003",
		"a byte after it":    "a102a1000300",
		"an array":           "8102",
		"indefinite length":  "bf02a10003ff",
		"a key twice inside": "a102a200030003",
	} {
		data, err := hex.DecodeString(item)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ace.ParseProblemDetails(data); err == nil {
			t.Errorf("%s: got %v", name, got)
		}
	}
	// RFC 9290: a detail may carry a language, and there may be others.
	data, _ := hex.DecodeString("a302a1000320617421d82682626465626e6f")
	if got, err := ace.ParseProblemDetails(data); err != nil || got.Code != ace.InvalidGrant || got.Description != "" {
		t.Errorf("other details: got %v, %v", got, err)
	}
}

func FuzzParseProblemDetails(f *testing.F) {
	for _, item := range []string{"a102a10003", "a302a1000221626e6f226175", "a0"} {
		data, _ := hex.DecodeString(item)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := ace.ParseProblemDetails(data)
		if err != nil {
			return
		}
		again, err := e.ProblemDetails()
		if err != nil {
			t.Fatalf("%v cannot be written: %v", e, err)
		}
		if back, err := ace.ParseProblemDetails(again); err != nil || !reflect.DeepEqual(back, e) || strings.ContainsAny(e.Description, "\"\\") {
			t.Errorf("%v came back as %v, %v", e, back, err)
		}
	})
}
