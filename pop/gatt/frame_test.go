package gatt

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// The messages of the communication example in draft-ietf-core-coap-over-gatt-00, written out by hand.
var draftExample = []struct {
	name string
	hex  string
	want frame
}{
	{"write GET /temp with observe", "6101016054" + hexOf("temp"), frame{id: true, confirm: true, message: message.Message{
		Code: codes.GET, Token: message.Token{1}, Options: message.Options{
			{ID: message.Observe, Value: []byte{}}, {ID: message.URIPath, Value: []byte("temp")}}}}},
	{"notify 2.05, unreliable", "5145016101ff" + hexOf("22°C"), frame{id: true, ack: true, message: message.Message{
		Code: codes.Content, Token: message.Token{1}, Options: message.Options{{ID: message.Observe, Value: []byte{1}}},
		Payload: []byte("22°C")}}},
	{"write GET /model", "210102b5" + hexOf("model"), frame{confirm: true, message: message.Message{
		Code: codes.GET, Token: message.Token{2}, Options: message.Options{{ID: message.URIPath, Value: []byte("model")}}}}},
	{"indicate 2.05", "614502ff" + hexOf("ExampleScan"), frame{id: true, confirm: true, message: message.Message{
		Code: codes.Content, Token: message.Token{2}, Payload: []byte("ExampleScan")}}},
	{"write empty with acknowledgement", "10", frame{ack: true}},
	{"write empty", "00", frame{}},
}

func hexOf(s string) string { return hex.EncodeToString([]byte(s)) }

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func same(a, b message.Message) bool {
	if a.Code != b.Code || !bytes.Equal(a.Token, b.Token) || !bytes.Equal(a.Payload, b.Payload) || len(a.Options) != len(b.Options) {
		return false
	}
	for i := range a.Options {
		if a.Options[i].ID != b.Options[i].ID || !bytes.Equal(a.Options[i].Value, b.Options[i].Value) {
			return false
		}
	}
	return true
}

func TestDraftExample(t *testing.T) {
	for _, row := range draftExample {
		t.Run(row.name, func(t *testing.T) {
			value := unhex(t, row.hex)
			got, err := decodeFrame(value)
			if err != nil {
				t.Fatal(err)
			}
			if got.id != row.want.id || got.confirm != row.want.confirm || got.ack != row.want.ack || !same(got.message, row.want.message) {
				t.Errorf("got %+v, want %+v", got, row.want)
			}
			if row.want.empty() {
				return
			}
			body, err := encodeMessage(row.want.message)
			if err != nil {
				t.Fatal(err)
			}
			value[0] &= maskTKL
			if !bytes.Equal(body, value) {
				t.Errorf("encoded %x, want %x", body, value)
			}
		})
	}
}

func TestFrameTruncatedAtEachByte(t *testing.T) {
	// token 0102, Uri-Path "a", Content-Format 19, payload
	value := unhex(t, "2202"+"0102"+"b161"+"1113"+"ff"+"aabb")
	whole := map[int]string{ // what a prefix may still be, because CoAP has no length
		4: "code and token", 6: "one option", 8: "both options", 10: "one byte of payload",
	}
	for n := range len(value) {
		_, err := decodeFrame(value[:n])
		if _, ok := whole[n]; ok != (err == nil) {
			t.Errorf("first %d of %d bytes: %v, allowed %q", n, len(value), err, whole[n])
		}
	}
}

func TestDecodeFrameRefuses(t *testing.T) {
	tests := []struct {
		name, hex string
		want      error // nil: any
	}{
		{"nothing", "", errEmptyFrame},
		{"reserved bit", "8045", errReservedBit},
		{"empty message with a token length", "01", errTokenLength},
		{"empty message that says its code", "0000", errCode},
		{"empty message that says its code, and a token", "010001", errCode},
		{"token of nine bytes", "0901" + strings.Repeat("00", 20), errTokenLength},
		{"token of fifteen bytes", "0f01" + strings.Repeat("00", 20), errTokenLength},
		{"token longer than the frame", "020101", errTokenLength},
		{"code of class 1", "0020", errCode},
		{"code of class 3", "0061", errCode},
		{"signalling code", "00e1", errCode},
		{"payload marker and no payload", "0045ff", nil},
		{"payload marker after an option and no payload", "0002b161ff", nil},
		{"reserved option length", "0002bf61", nil},
		{"reserved option delta", "0002f161", nil},
		{"option longer than the frame", "0002b561", nil},
		{"extended delta cut", "0002d1", nil},
		{"option number beyond 16 bits", "0002e1ffff00e1ffff00", nil},
		{"33 options", "0002" + strings.Repeat("10", 33), nil},
		{"513 bytes", "0045ff" + strings.Repeat("aa", MaxValue-2), errFrameTooLong},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f, err := decodeFrame(unhex(t, test.hex))
			if err == nil || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("got %+v, %v, want %v", f, err, test.want)
			}
		})
	}
}

func TestEncodeMessageRefuses(t *testing.T) {
	path := message.Option{ID: message.URIPath, Value: []byte("a")}
	format := message.Option{ID: message.ContentFormat, Value: []byte{60}}
	token := message.Token{1, 2, 3, 4}
	tests := []struct {
		name string
		in   message.Message
		want error
	}{
		{"the empty code", message.Message{Token: token}, errCode},
		{"a signalling code", message.Message{Code: codes.Ping}, errCode},
		{"a token of nine bytes", message.Message{Code: codes.GET, Token: make([]byte, 9)}, errTokenLength},
		{"options in descending order", message.Message{Code: codes.POST, Options: message.Options{format, path}}, errOptionOrder},
		{"513 bytes", message.Message{Code: codes.POST, Token: token, Payload: make([]byte, 506)}, ErrTooLong},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if _, err := encodeMessage(test.in); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
	longest := message.Message{Code: codes.POST, Token: token, Payload: make([]byte, 505)}
	if body, err := encodeMessage(longest); err != nil || len(body) != MaxValue {
		t.Errorf("the longest message: %d bytes, %v", len(body), err)
	}
}

func FuzzFrame(f *testing.F) {
	for _, row := range draftExample {
		f.Add(unhex(f, row.hex))
	}
	f.Add(unhex(f, "22020102b1611113ffaabb"))
	f.Fuzz(func(t *testing.T, value []byte) {
		got, err := decodeFrame(value)
		if err != nil || got.empty() {
			return
		}
		body, err := encodeMessage(got.message)
		if err != nil {
			t.Fatalf("%x was decoded but not encoded: %v", value, err)
		}
		again, err := decodeFrame(body)
		if err != nil || !same(got.message, again.message) {
			t.Fatalf("%x became %+v, %v, want %+v", value, again.message, err, got.message)
		}
	})
}

// say is one step of a conversation as one end sees it: what it receives, then what it may send.
type say struct {
	receive string // hex; "" for nothing
	ignored bool
	free    bool // a message may be sent afterwards
	owes    bool // an acknowledgement is due afterwards
}

func TestSublayerTurns(t *testing.T) {
	tests := []struct {
		name  string
		steps []say
	}{
		{"first message with M=0, as the rule says", []say{{receive: "2001", free: true, owes: true}}},
		{"first message with M=1, as the example shows", []say{{receive: "6001", free: true, owes: true}}},
		{"reserved bit is ignored whatever follows", []say{{receive: "ff", ignored: true, free: true}, {receive: "a001", ignored: true, free: true}}},
		{"a value ignored for its reserved bit does not count as the last one", []say{
			{receive: "2001", free: true, owes: true}, {receive: "a001", ignored: true, free: true, owes: true},
			{receive: "2001", ignored: true, free: true, owes: true}}},
		{"repeated message is ignored", []say{{receive: "2001", free: true, owes: true}, {receive: "2001", ignored: true, free: true, owes: true}}},
		{"same message is new after another one", []say{
			{receive: "2001", free: true, owes: true}, {receive: "6001", free: true, owes: true}, {receive: "2001", free: true, owes: true}}},
		{"message without C owes nothing", []say{{receive: "0001", free: true}}},
		{"empty message with C owes", []say{{receive: "20", free: true, owes: true}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := newSublayer()
			for i, step := range test.steps {
				_, ok, err := l.receive(unhex(t, step.receive))
				if err != nil || ok == step.ignored {
					t.Fatalf("step %d: taken %v, %v", i, ok, err)
				}
				if got := (say{step.receive, step.ignored, !l.awaiting, l.owes}); !reflect.DeepEqual(got, step) {
					t.Fatalf("step %d: got %+v, want %+v", i, got, step)
				}
			}
		})
	}
}

func TestSublayerWaitsForItsOwnID(t *testing.T) {
	l := newSublayer()
	first := l.stamp([]byte{0x00, 0x01})
	if first[0] != bitConfirm {
		t.Errorf("first byte of the first message %02x, want M=0 C=1 A=0", first[0])
	}
	l.receive([]byte{0x00}) // A=0 acknowledges it
	second := l.stamp([]byte{0x00, 0x01})
	if second[0] != bitID|bitConfirm {
		t.Errorf("second message %02x, want M=1 C=1 A=0", second[0])
	}
	if l.receive([]byte{0x60, 0x45}); !l.awaiting { // another message, A still 0
		t.Error("a message that acknowledges the one before freed the turn")
	}
	if got := l.acknowledge(); !bytes.Equal(got, []byte{bitID | bitAck}) {
		t.Errorf("acknowledgement %x, want M=1 C=0 A=1", got)
	}
	if l.receive([]byte{0x50}); l.awaiting { // A=1
		t.Error("still waiting after the acknowledgement")
	}
	third := l.stamp([]byte{0x02, 0x01, 0xaa, 0xbb})
	if third[0] != bitConfirm|bitAck|2 {
		t.Errorf("third message %02x, want M=0 C=1 A=1 and the token length kept", third[0])
	}
}
