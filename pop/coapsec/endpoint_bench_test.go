package coapsec

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// BenchmarkEndpointGET sends confirmable requests, 16 at a time, and waits for the answers. "bare" is a loop that sends
// every datagram back: the price of the sockets and of the driver. cpu-ns/op is for driver and server together.
func BenchmarkEndpointGET(b *testing.B) {
	for _, peers := range []int{16, 4096} {
		b.Run(fmt.Sprintf("bare, %d peers", peers), func(b *testing.B) { driveBare(b, peers) })
	}
	answer := message.Message{Code: codes.Content, Payload: []byte("closed")}
	state := HandlerFunc(func(context.Context, *Request) message.Message { return answer })
	for _, peers := range []int{16, 4096} {
		b.Run(fmt.Sprintf("endpoint, %d peers", peers), func(b *testing.B) {
			server := serve(b, udp(b), Blockwise(state, BlockwiseOptions{}), EndpointOptions{})
			drive(b, server.LocalAddr(), peers)
		})
	}
}

func driveBare(b *testing.B, peers int) {
	b.Helper()
	conn := udp(b)
	go func() {
		buf := make([]byte, maxReceived)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			_, _ = conn.WriteToUDPAddrPort(buf[:n], from)
		}
	}()
	drive(b, conn.LocalAddr().(*net.UDPAddr).AddrPort(), peers)
}

func drive(b *testing.B, server netip.AddrPort, peers int) {
	b.Helper()
	conns := make([]*net.UDPConn, peers)
	for i := range conns {
		conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(server))
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		conns[i] = conn
	}
	datagram := mustEncode(b, confirmable(0, request(codes.GET, "/door/state", nil)))
	buf := make([]byte, maxReceived)
	const window = 16
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime(b)
	for sent := 0; sent < b.N; sent += window {
		for i := range window {
			n := sent + i
			binary.BigEndian.PutUint16(datagram[2:], uint16(n/peers))
			if _, err := conns[n%peers].Write(datagram); err != nil {
				b.Fatal(err)
			}
		}
		for i := range window {
			conn := conns[(sent+i)%peers]
			_ = conn.SetReadDeadline(time.Now().Add(time.Second))
			n, err := conn.Read(buf)
			if err != nil || n < headerLength {
				b.Fatalf("answer %d: %d bytes, %v", sent+i, n, err)
			}
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkReceive is the cost of one request without a socket; it must not depend on how many came before.
func BenchmarkReceive(b *testing.B) {
	answer := message.Message{Code: codes.Content, Payload: []byte("closed")}
	state := HandlerFunc(func(context.Context, *Request) message.Message { return answer })
	for _, test := range []struct {
		name          string
		peers, before int
	}{
		{"one peer, first requests", 1, 0},
		{"one peer, after 100000", 1, 100_000},
		{"4096 peers, after 100000", 4096, 100_000},
		{"1000000 peers, after 100000", 1_000_000, 100_000},
	} {
		b.Run(test.name, func(b *testing.B) {
			e := NewEndpoint(&sink{}, state, EndpointOptions{Log: slog.New(slog.DiscardHandler)})
			e.conn = drop{}
			defer func() { _ = e.Close() }()
			datagram := mustEncode(b, confirmable(0, request(codes.GET, "/door/state", nil)))
			run := func(n int) {
				data := append(make([]byte, 0, len(datagram)), datagram...)
				binary.BigEndian.PutUint16(data[2:], uint16(n/test.peers))
				e.receive(context.Background(), peerNumber(n%test.peers), data)
				if n%16 == 0 {
					e.work.Wait()
				}
			}
			for n := range test.before {
				run(n)
			}
			b.ReportAllocs()
			b.ResetTimer()
			before := cpuTime(b)
			for n := range b.N {
				run(test.before + n)
			}
			e.work.Wait()
			b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// drop is a socket that sends nothing.
type drop struct{}

func (drop) ReadFromUDPAddrPort([]byte) (int, netip.AddrPort, error) {
	return 0, netip.AddrPort{}, net.ErrClosed
}
func (drop) WriteToUDPAddrPort(b []byte, _ netip.AddrPort) (int, error) { return len(b), nil }
