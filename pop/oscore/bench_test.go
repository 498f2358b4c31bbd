package oscore

import (
	"testing"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

func benchmarkRequest() message.Message {
	return message.Message{
		Code: codes.POST, Payload: make([]byte, 64),
		Options: message.Options{{ID: message.URIPath, Value: []byte("door")}, {ID: message.URIPath, Value: []byte("unlock")}},
	}
}

// BenchmarkCCM is what the AEAD alone costs for the same message.
func BenchmarkCCM(b *testing.B) {
	c, _ := pair(b, nil)
	m, x := mustRequest(b, c, benchmarkRequest())
	plaintext := make([]byte, len(m.Payload)-c.send.Overhead())
	sealed := c.send.Seal(nil, x.nonce[:], plaintext, x.aad[:x.aadSize])
	buffer := make([]byte, 0, len(sealed))
	b.Run("seal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.send.Seal(buffer, x.nonce[:], plaintext, x.aad[:x.aadSize])
		}
	})
	b.Run("open", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.send.Open(buffer, x.nonce[:], sealed, x.aad[:x.aadSize]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkProtectRequest(b *testing.B) {
	c, _ := pair(b, nil)
	m := benchmarkRequest()
	b.ReportAllocs()
	for b.Loop() {
		mustRequest(b, c, m)
	}
}

func BenchmarkUnprotectRequest(b *testing.B) {
	client, server := pair(b, nil)
	server.windowLost = true // accepts the same request again and again
	m, _ := mustRequest(b, client, benchmarkRequest())
	b.ReportAllocs()
	for b.Loop() {
		mustUnprotect(b, server, m)
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	client, server := pair(b, nil)
	m := benchmarkRequest()
	response := message.Message{Code: codes.Changed, Payload: make([]byte, 64)}
	b.ReportAllocs()
	for b.Loop() {
		request, asked := mustRequest(b, client, m)
		_, x := mustUnprotect(b, server, request)
		outer, err := server.ProtectResponse(x, response, false)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := client.UnprotectResponse(asked, outer); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNew(b *testing.B) {
	p := Params{MasterSecret: testSecret, SenderID: []byte{1}, RecipientID: []byte{2}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := New(p, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
