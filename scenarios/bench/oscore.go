package main

import (
	"context"
	"crypto/aes"
	"fmt"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/pion/dtls/v3/pkg/crypto/ccm"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

const (
	payloadSize = 64 // bytes
	tagSize     = 8  // bytes, AES-CCM-16-64-128
	nonceSize   = 13 // bytes
)

// oscore measures the protection of one request, without sockets.
func (b *bench) oscore(context.Context) error {
	client, server, err := pair()
	if err != nil {
		return err
	}
	request := message.Message{
		Code: codes.POST, Payload: make([]byte, payloadSize),
		Options: message.Options{{ID: message.URIPath, Value: []byte("door")}, {ID: message.URIPath, Value: []byte("unlock")}},
	}
	protected, _, err := client.ProtectRequest(request)
	if err != nil {
		return err
	}
	protect := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			if _, _, err := client.ProtectRequest(request); err != nil {
				b.Fatal(err)
			}
		}
	})
	unprotect := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			if _, _, err := server.UnprotectRequest(protected); err != nil {
				b.Fatal(err)
			}
		}
	})
	seal, open, err := bareCCM()
	if err != nil {
		return err
	}
	part := fmt.Sprintf("OSCORE, a request of %d bytes; the floor is the AES-CCM of pion/dtls over as many bytes", payloadSize)
	sum := row{Part: part, What: "both together", Figure: nanoseconds(protect) + nanoseconds(unprotect), Unit: "ns", Floor: nanoseconds(seal) + nanoseconds(open), Bare: "both"}
	b.table.add(
		row{Part: part, What: "protect", Figure: nanoseconds(protect), Unit: "ns", More: allocations(protect), Floor: nanoseconds(seal), Bare: "seal"},
		row{Part: part, What: "unprotect", Figure: nanoseconds(unprotect), Unit: "ns", More: allocations(unprotect), Floor: nanoseconds(open), Bare: "open"},
		sum.atMost(10_000),
	)
	return nil
}

// pair are two ends of a context. The server's has lost its replay window, so that one request can be measured again
// and again; the window itself is one comparison.
func pair() (client, server *oscore.Context, err error) {
	p := oscore.Params{MasterSecret: make([]byte, 16), SenderID: []byte{1}, RecipientID: []byte{2}}
	if client, err = oscore.New(p, oscore.Options{}); err != nil {
		return nil, nil, err
	}
	p.SenderID, p.RecipientID = p.RecipientID, p.SenderID
	server, err = oscore.New(p, oscore.Options{WindowLost: true})
	return client, server, err
}

func bareCCM() (seal, open testing.BenchmarkResult, err error) {
	block, err := aes.NewCipher(make([]byte, 16))
	if err != nil {
		return seal, open, err
	}
	aead, err := ccm.NewCCM(block, tagSize, nonceSize)
	if err != nil {
		return seal, open, err
	}
	// Code and path are encrypted with the payload; the external_aad has about 20 bytes.
	nonce, plaintext, aad := make([]byte, nonceSize), make([]byte, 1+5+7+1+payloadSize), make([]byte, 20)
	sealed := aead.Seal(nil, nonce, plaintext, aad)
	seal = testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			aead.Seal(nil, nonce, plaintext, aad)
		}
	})
	open = testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			if _, err := aead.Open(nil, nonce, sealed, aad); err != nil {
				b.Fatal(err)
			}
		}
	})
	return seal, open, nil
}

func nanoseconds(r testing.BenchmarkResult) float64 { return float64(r.T.Nanoseconds()) / float64(r.N) }

func allocations(r testing.BenchmarkResult) string {
	return fmt.Sprintf("%d allocations, %d B", r.AllocsPerOp(), r.AllocedBytesPerOp())
}
