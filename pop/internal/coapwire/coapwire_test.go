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
		"second byte of an extended delta cut":  "e001",
		"extended length cut":                   "bd",
		"both extended, the length cut":         "dd01",
		"number 65536":                          "e0fef300",
		"number wrapping round to Uri-Path":     "e0fefee1fefe61",
		"65804 bytes announced":                 "beffff61",
		"reserved delta and length":             "fe",
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

func TestEveryTruncationIsRefusedOrWhole(t *testing.T) {
	data := unhex(t, "b474657374"+"d1016b"+"e20100"+"6162"+"dd0a01"+"6162636465666768696a6b6c6d6e"+"ff7061796c6f6164")
	whole, payload, err := Decode(data)
	if err != nil || len(whole) != 4 || string(payload) != "payload" {
		t.Fatalf("got %v, %q, %v", whole, payload, err)
	}
	for n := range len(data) {
		options, payload, err := Decode(data[:n])
		if err != nil {
			continue
		}
		again, err := Append(nil, options, payload)
		if err != nil || !bytes.Equal(again, data[:n]) {
			t.Errorf("%d bytes: came back as %x, %v", n, again, err)
		}
	}
}

func TestLongestOption(t *testing.T) {
	o := message.Options{{ID: 65535, Value: make([]byte, maxExtended)}}
	data, err := Append(nil, o, nil)
	if err != nil || len(data) != Size(o, nil) {
		t.Fatalf("got %d bytes, %v, want %d", len(data), err, Size(o, nil))
	}
	if got, _, err := Decode(data); err != nil || len(got) != 1 || got[0].ID != 65535 || len(got[0].Value) != maxExtended {
		t.Errorf("got %d options, %v", len(got), err)
	}
	o[0].Value = make([]byte, maxExtended+1)
	if _, err := Append(nil, o, nil); err == nil {
		t.Error("a longer one was encoded")
	}
	if _, err := Append(nil, message.Options{{ID: 0}}, nil); err == nil {
		t.Error("option 0 was encoded")
	}
}

func TestDecodeIntoUsesTheMemoryGiven(t *testing.T) {
	data := unhex(t, "b474657374"+"0161"+"ff01")
	room := make(message.Options, 0, 2)
	options, _, err := DecodeInto(room, data)
	if err != nil || len(options) != 2 || &options[0] != &room[:1][0] {
		t.Errorf("got %v, %v, want the two options in the memory given", options, err)
	}
	if got := testing.AllocsPerRun(100, func() { _, _, _ = DecodeInto(room, data) }); got != 0 {
		t.Errorf("got %v allocations, want none", got)
	}
	value := options[0].Value
	if grown := append(value, 'x'); data[5] == 'x' {
		t.Errorf("appending to a value wrote %x over what follows", grown)
	}
}

func TestAppendRefusesDescendingOptions(t *testing.T) {
	o := message.Options{{ID: 12, Value: []byte{60}}, {ID: 11, Value: []byte("a")}}
	if got, err := Append(nil, o, nil); err == nil {
		t.Errorf("got %x, want an error", got)
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{"", "b474657374", "b474657374ff01", "be001f", "01aa", "ff", "b1ffffff", "d101ffd10aff", "e0fef2", "e0fef3", "ddffff", "b0e0e0", "beffff61"} {
		b, _ := hex.DecodeString(s)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		options, payload, err := Decode(data)
		if err != nil {
			return
		}
		again, err := Append(nil, options, payload)
		if err != nil || !bytes.Equal(again, data) || len(data) != Size(options, payload) {
			t.Errorf("%x came back as %x, %v; size %d", data, again, err, Size(options, payload))
		}
		// go-coap's decoder, where it takes the same, says the same.
		theirs := make(message.Options, 0, MaxOptions)
		if n, err := theirs.Unmarshal(data, nil); err != nil || len(theirs) != len(options) || !bytes.Equal(data[n:], payload) {
			t.Errorf("%x: go-coap reads %v and %x, %v, want %v and %x", data, theirs, data[n:], err, options, payload)
		}
	})
}
