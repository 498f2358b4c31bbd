package coapwire

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/plgd-dev/go-coap/v3/message"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDecodeKeepsEveryOption(t *testing.T) {
	// Uri-Path of 300 bytes, which RFC 7252 does not allow and go-coap's own decoder would drop.
	long := append(unhex(t, "be001f"), bytes.Repeat([]byte{'a'}, 300)...)
	options, payload, err := Decode(long)
	if err != nil || len(options) != 1 || len(options[0].Value) != 300 || payload != nil {
		t.Errorf("got %v, %v, %v, want one option of 300 bytes", options, payload, err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, data := range map[string]string{
		"payload marker without payload":        "b474657374ff",
		"only a payload marker":                 "ff",
		"option number 0":                       "01aa",
		"option number 0 before others":         "01aab474657374",
		"option number 0 before a payload":      "01aaff01",
		"option longer than the message":        "b574657374",
		"reserved delta":                        "f0",
		"reserved length":                       "0f",
		"extended delta cut":                    "d0",
		"more options than any message of ours": "b1" + "61" + string(bytes.Repeat([]byte("0161"), MaxOptions)),
	} {
		if o, p, err := Decode(unhex(t, data)); err == nil {
			t.Errorf("%s: got %v, %x, want an error", name, o, p)
		}
	}
}

func TestDecodeAcceptsMarkerBytesInValues(t *testing.T) {
	options, payload, err := Decode(unhex(t, "b1ff"))
	if err != nil || len(options) != 1 || payload != nil {
		t.Errorf("got %v, %x, %v, want one option ending in ff", options, payload, err)
	}
	options, payload, err = Decode(unhex(t, "b1ffffff"))
	if err != nil || len(options) != 1 || !bytes.Equal(payload, []byte{0xff}) {
		t.Errorf("got %v, %x, %v, want one option and payload ff", options, payload, err)
	}
}

func TestAppendRefusesDescendingOptions(t *testing.T) {
	o := message.Options{{ID: 12, Value: []byte{60}}, {ID: 11, Value: []byte("a")}}
	if got, err := Append(nil, o, nil); err == nil {
		t.Errorf("got %x, want an error", got)
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{"", "b474657374", "b474657374ff01", "be001f", "01aa", "ff", "b1ffffff"} {
		b, _ := hex.DecodeString(s)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		options, payload, err := Decode(data)
		if err != nil {
			return
		}
		again, err := Append(nil, options, payload)
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("%x came back as %x, %v", data, again, err)
		}
	})
}
