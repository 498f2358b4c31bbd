package oscore

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// The examples of RFC 8613 §6.3.
func TestOptionExamples(t *testing.T) {
	for _, c := range []struct {
		value string
		want  Option
	}{
		{"", Option{}},
		{"090525", Option{PartialIV: []byte{5}, KID: []byte{0x25}, HasKID: true}},
		{"0900", Option{PartialIV: []byte{0}, KID: []byte{}, HasKID: true}},
		{"19050544616c656b", Option{PartialIV: []byte{5}, KID: []byte{}, HasKID: true, KIDContext: []byte("Dalek"), HasKIDContext: true}},
		{"0107", Option{PartialIV: []byte{7}}},
	} {
		got, err := ParseOption(unhex(t, c.value))
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, %v, want %+v", c.value, got, err, c.want)
		}
		if got := c.want.Encode(); !bytes.Equal(got, unhex(t, c.value)) {
			t.Errorf("got %x, want %s", got, c.value)
		}
	}
}

func TestParseOptionRefuses(t *testing.T) {
	for name, value := range map[string]string{
		"flags that should be left out":     "00",
		"reserved bit 5":                    "290525",
		"reserved bit 6":                    "490525",
		"reserved bit 7":                    "890525",
		"partial iv of six bytes":           "0e010203040506",
		"partial iv of seven bytes":         "0f01020304050607",
		"partial iv cut off":                "0a05",
		"partial iv with a leading zero":    "0a0005",
		"kid context without length":        "1905",
		"kid context cut off":               "19050544616c65",
		"bytes after the partial iv":        "010525",
		"bytes after the kid context":       "1105014400",
		"partial iv of zero twice over":     "0a0000",
		"only the flag of a kid context":    "10",
		"kid context longer than the value": "10ff",
	} {
		if o, err := ParseOption(unhex(t, value)); !errors.Is(err, ErrDecode) {
			t.Errorf("%s: got %+v, %v, want %v", name, o, err, ErrDecode)
		}
	}
}

func FuzzParseOption(f *testing.F) {
	for _, v := range rfc8613(f) {
		if value, ok := v["OSCORE option value"]; ok {
			f.Add(unhex(f, value))
		}
	}
	f.Add(unhex(f, "19050544616c656b"))
	f.Fuzz(func(t *testing.T, value []byte) {
		o, err := ParseOption(value)
		if err != nil {
			if !errors.Is(err, ErrDecode) {
				t.Fatalf("got %v, want %v", err, ErrDecode)
			}
			return
		}
		if got := o.Encode(); !bytes.Equal(got, value) {
			t.Fatalf("got %x, want %x", got, value)
		}
	})
}

func FuzzUnprotectRequest(f *testing.F) {
	sections := rfc8613(f)
	for _, id := range []string{"C.4", "C.5", "C.6"} {
		m := decodeUDP(f, sections[id]["Protected CoAP request (OSCORE message)"])
		at, _, _ := m.Options.Find(OptionOSCORE)
		f.Add(m.Options[at].Value, m.Payload)
	}
	server := newContext(f, paramsOf(f, sections["C.1.2"]), Options{WindowLost: true})
	genuine := unhex(f, sections["C.4"]["ciphertext"])
	f.Fuzz(func(t *testing.T, value, payload []byte) {
		outer := message.Message{Code: codes.POST, Options: message.Options{{ID: OptionOSCORE, Value: value}}, Payload: payload}
		inner, _, err := server.UnprotectRequest(outer)
		if err == nil && !bytes.Equal(payload, genuine) {
			t.Fatalf("forged: %+v", inner)
		}
		if err != nil && ErrorResponse(err).Code == codes.InternalServerError {
			t.Fatalf("unexpected error: %v", err)
		}
	})
}
