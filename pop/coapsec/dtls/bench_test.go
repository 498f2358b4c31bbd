package dtls

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/pion/dtls/v3"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// BenchmarkHandshakeAndGET opens an association, asks once and closes it. "bare" is the engine's own listener and client
// with a canned answer and no CoAP. cpu-ns/op is for client and server together; both have the same client.
func BenchmarkHandshakeAndGET(b *testing.B) {
	b.Run("bare", func(b *testing.B) {
		listener, err := dtls.ListenWithOptions("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)},
			suites(), dtls.WithPSK(func([]byte) ([]byte, error) { return aliceKey, nil }),
			dtls.WithConnectionIDGenerator(dtls.RandomCIDGenerator(cidLength)))
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = listener.Close() }()
		go answerBare(listener)
		visit(b, addrPort(listener.Addr()))
	})
	b.Run("server", func(b *testing.B) {
		s := start(b, loopback(b), keys(), answer, quiet)
		visit(b, s.LocalAddr())
	})
}

func answerBare(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = conn.Close() }()
			buf := make([]byte, maxMessage)
			for {
				n, err := conn.Read(buf)
				if err != nil {
					return
				}
				buf[0], buf[1] = buf[0]&0xf|0x60, byte(codes.Content)
				_, _ = conn.Write(buf[:n])
			}
		}()
	}
}

// visit is the driver: the engine's own client.
func visit(b *testing.B, server netip.AddrPort) {
	b.Helper()
	request := []byte{0x41, byte(codes.GET), 0, 1, 9, 0xb3, 'w', 'h', 'o'}
	buf := make([]byte, maxMessage)
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime(b)
	for range b.N {
		conn, err := dtls.DialWithOptions("udp", net.UDPAddrFromAddrPort(server), suites(),
			dtls.WithPSK(func([]byte) ([]byte, error) { return aliceKey, nil }), dtls.WithPSKIdentityHint(aliceID),
			dtls.WithConnectionIDGenerator(dtls.OnlySendCIDGenerator()))
		if err != nil {
			b.Fatal(err)
		}
		if _, err = conn.Write(request); err == nil {
			_, err = conn.Read(buf)
		}
		if err != nil || buf[1] != byte(codes.Content) {
			b.Fatalf("%x, %v", buf[:4], err)
		}
		_ = conn.Close()
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

// BenchmarkGET asks over an association that stands.
func BenchmarkGET(b *testing.B) {
	s := start(b, loopback(b), keys(), answer, quiet)
	c := dial(b, s.LocalAddr(), aliceID, aliceKey)
	request := coapsec.NewRequest(codes.GET, "/who", coapsec.NoFormat, nil)
	b.ReportAllocs()
	b.ResetTimer()
	before := cpuTime(b)
	for range b.N {
		if _, err := c.Exchange(context.Background(), request); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
}

// BenchmarkIdleAssociation reports what an association that has been used once holds at the server, in heap and stacks.
// "bare" is the same with the engine's own listener. Both include what the 500 clients leave behind, their sockets.
func BenchmarkIdleAssociation(b *testing.B) {
	b.Run("bare", func(b *testing.B) {
		listener, err := dtls.ListenWithOptions("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)},
			suites(), dtls.WithPSK(func([]byte) ([]byte, error) { return aliceKey, nil }),
			dtls.WithConnectionIDGenerator(dtls.RandomCIDGenerator(cidLength)))
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = listener.Close() }()
		go answerBare(listener)
		weigh(b, addrPort(listener.Addr()))
	})
	b.Run("server", func(b *testing.B) {
		s := start(b, loopback(b), anyone, answer, quiet)
		weigh(b, s.LocalAddr())
	})
}

func weigh(b *testing.B, server netip.AddrPort) {
	b.Helper()
	const clients = 500
	before := memory()
	for n := range clients {
		idleClient(b, server, fmt.Appendf(nil, "client %d", n))
	}
	b.ReportMetric(float64(memory()-before)/clients, "B/association")
}

// idleClient makes an association, asks once, and leaves only its socket behind.
func idleClient(b *testing.B, server netip.AddrPort, identity []byte) {
	b.Helper()
	socket := loopback(b)
	conn, err := dtls.ClientWithOptions(deaf{socket}, net.UDPAddrFromAddrPort(server), suites(),
		dtls.WithPSK(func([]byte) ([]byte, error) { return aliceKey, nil }), dtls.WithPSKIdentityHint(identity),
		dtls.WithConnectionIDGenerator(dtls.OnlySendCIDGenerator()))
	if err != nil {
		b.Fatal(err)
	}
	if _, err = conn.Write([]byte{0x41, byte(codes.GET), 0, 1, 9, 0xb3, 'w', 'h', 'o'}); err == nil {
		_, err = conn.Read(make([]byte, maxMessage))
	}
	if err != nil {
		b.Fatal(err)
	}
	_ = conn.Close()
}

// deaf is a socket that loses the client's goodbye and stays open, so that no other client gets its port.
type deaf struct{ *net.UDPConn }

func (d deaf) Close() error { return nil }

func (d deaf) WriteTo(b []byte, to net.Addr) (int, error) {
	if len(b) > 0 && b[0] == kindConnectionID && len(b) == recordHeader+cidLength+minSealed+3 {
		return len(b), nil // a sealed alert: two bytes and the type
	}
	return d.UDPConn.WriteTo(b, to)
}

func memory() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}
