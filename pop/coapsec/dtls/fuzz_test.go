package dtls

import (
	"bytes"
	"testing"
)

// FuzzSift checks that what reaches the engine is made of whole, lawful records of the datagram, in their order.
func FuzzSift(f *testing.F) {
	hello := append([]byte{kindHandshake, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 13, clientHello, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1}, 9)
	sealed := append([]byte{kindConnectionID, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 0, 16}, make([]byte, 16)...)
	injected := []byte{kindApplicationData, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 2, 0, 4, 0x40, 1, 0, 1}
	for _, seed := range [][]byte{hello, sealed, injected, append(bytes.Clone(hello), sealed...), append(bytes.Clone(injected), hello...), {}} {
		f.Add(seed, true, false)
		f.Add(seed, false, true)
	}
	f.Fuzz(func(t *testing.T, datagram []byte, client, settled bool) {
		cid := cidLength
		if client {
			cid = 0
		}
		before := bytes.Clone(datagram)
		got := sift(datagram, cid, settled)
		if len(got) == 0 && got != nil && len(datagram) > 0 {
			t.Fatal("empty but not nil")
		}
		var want []byte
		for rest := before; len(rest) > 0; {
			r, ok := firstRecord(rest, cid)
			if !ok {
				break
			}
			_, _ = r.opens(), r.isClientHello()
			if r.lawful(client, settled) {
				want = append(want, rest[:r.size]...)
			}
			if r.kind == kindApplicationData && r.epoch == 0 && r.lawful(client, settled) {
				t.Fatal("application data in clear")
			}
			rest = rest[r.size:]
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("got %x, want %x", got, want)
		}
	})
}
