package coapwire

import (
	"testing"

	"github.com/plgd-dev/go-coap/v3/message"
)

// The floor of both is go-coap's own code, which does less.
var typical = message.Options{
	{ID: message.URIPath, Value: []byte("door")}, {ID: message.URIPath, Value: []byte("unlock")},
	{ID: message.ContentFormat, Value: []byte{60}}, {ID: 252, Value: make([]byte, 18)},
}

func BenchmarkDecode(b *testing.B) {
	data, err := Append(nil, typical, make([]byte, 64))
	if err != nil {
		b.Fatal(err)
	}
	room := make(message.Options, 0, MaxOptions)
	b.Run("go-coap", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			options := room[:0]
			if _, err := options.Unmarshal(data, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("into given memory", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := DecodeInto(room, data); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("into its own", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := Decode(data); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	payload, buffer := make([]byte, 64), make([]byte, 0, 256)
	b.Run("go-coap", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			n, err := typical.Marshal(buffer[:256])
			if err != nil {
				b.Fatal(err)
			}
			_ = append(append(buffer[:n], marker), payload...)
		}
	})
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Append(buffer, typical, payload); err != nil {
				b.Fatal(err)
			}
		}
	})
}
