package delivery_test

import (
	"context"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// BenchmarkPush is an upload over an established context to a device on loopback and its answer, one after another. Bare is
// its floor: datagrams of the same size to a loop that sends them back.
func BenchmarkPush(b *testing.B) {
	const token = 179 // bytes: Encrypt0 with all claims
	b.Run("upload", func(b *testing.B) {
		w := newWorld(b, func(_ context.Context, r *coapsec.Request) message.Message {
			return coapsec.Content(codes.Created, ace.FormatACE, append([]byte("taken "), r.Payload...))
		})
		w.options.Tap = nil
		w.restart()
		payload := make([]byte, token)
		w.upload("context")
		benchmark(b, func() error {
			_, err := w.engine.Upload(b.Context(), w.record, payload)
			return err
		})
	})
	b.Run("bare", func(b *testing.B) {
		there, here := bareSocket(b), bareSocket(b)
		go echo(there)
		datagram := make([]byte, token+40)
		buf := make([]byte, 2048)
		benchmark(b, func() error {
			if _, err := here.WriteToUDPAddrPort(datagram, there.LocalAddr().(*net.UDPAddr).AddrPort()); err != nil {
				return err
			}
			_, err := here.Read(buf)
			return err
		})
	})
}

// benchmark reports the median and the 99th percentile beside the mean.
func benchmark(b *testing.B, trip func() error) {
	b.Helper()
	b.ReportAllocs()
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		if err := trip(); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1e3, "p99-µs")
}

func bareSocket(b *testing.B) *net.UDPConn {
	b.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	return conn
}

func echo(conn *net.UDPConn) {
	buf := make([]byte, 2048)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		_, _ = conn.WriteToUDPAddrPort(buf[:n], from)
	}
}
