package coapsec

import (
	"context"
	"testing"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// BenchmarkBlockwise sets a request that goes through, and a body in blocks of 1024 bytes each way, beside the handler alone.
func BenchmarkBlockwise(b *testing.B) {
	long := message.Message{Code: codes.Content, Options: message.Options{{ID: message.ETag, Value: []byte("1")}}, Payload: body(8000)}
	h := HandlerFunc(func(_ context.Context, r *Request) message.Message {
		if r.Code == codes.GET {
			return long
		}
		return message.Message{Code: codes.Changed}
	})
	layer := Blockwise(h, BlockwiseOptions{MaxBody: 8000})
	peer := Peer{Address: phoneAddress, Session: "phone"}
	short := &Request{Message: request(codes.POST, "/a", body(64)), Peer: peer}
	run := func(name string, bytes int64, f func()) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			if bytes > 0 {
				b.SetBytes(bytes)
			}
			for b.Loop() {
				f()
			}
		})
	}
	run("handler alone", 0, func() { h.ServeCoAP(b.Context(), short) })
	run("short request", 0, func() { layer.ServeCoAP(b.Context(), short) })
	var up, down []*Request
	for n := range 8 {
		part := body(8000)[n*1024 : min(8000, n*1024+1024)]
		up = append(up, &Request{Message: request(codes.POST, "/a", part), Peer: peer})
		up[n].Options = up[n].Options.Add(block{n, n < 7, 6}.option(message.Block1))
		down = append(down, &Request{Message: get("/a"), Peer: peer})
		down[n].Options = down[n].Options.Add(block{n, false, 6}.option(message.Block2))
	}
	all := func(requests []*Request) func() {
		return func() {
			for _, r := range requests {
				layer.ServeCoAP(b.Context(), r)
			}
		}
	}
	run("8 blocks up", 8000, all(up))
	run("8 blocks down", 8000, all(down))
}
