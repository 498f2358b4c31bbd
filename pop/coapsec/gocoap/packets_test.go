package gocoap_test

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// files is a packet connection without IP: datagrams between files of one folder. Peer n is the file n, and fd00::1
// with port n to the endpoint.
type files struct {
	*net.UnixConn
	folder string
}

func listenFiles(t testing.TB, folder string, n int) files {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(folder, strconv.Itoa(n)), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return files{conn, folder}
}

func peer(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("fd00::1"), uint16(n))
}

func (f files) ReadFrom(buf []byte) (int, net.Addr, error) {
	size, from, err := f.UnixConn.ReadFrom(buf)
	if err != nil {
		return 0, nil, err
	}
	n, err := strconv.Atoi(filepath.Base(from.String()))
	return size, net.UDPAddrFromAddrPort(peer(n)), err
}

func (f files) WriteTo(data []byte, to net.Addr) (int, error) {
	n := to.(*net.UDPAddr).Port
	return f.UnixConn.WriteTo(data, &net.UnixAddr{Name: filepath.Join(f.folder, strconv.Itoa(n)), Net: "unixgram"})
}

// TestAnyPacketConnection has both ends serve and ask, each on one socket.
func TestAnyPacketConnection(t *testing.T) {
	folder := t.TempDir()
	body := bytes.Repeat([]byte("0123456789"), 300)
	endpoint := func(n int, h coapsec.Handler) *coapsec.Endpoint {
		e := coapsec.NewEndpoint(listenFiles(t, folder, n), h, coapsec.EndpointOptions{})
		running(t, func() error { return e.Serve(context.Background()) }, func() { _ = e.Close() })
		return e
	}
	toSecond, right := keys(t, secret)
	toFirst, left := keys(t, []byte("another secret b"))
	first, second := endpoint(1, security(t, left)), endpoint(2, security(t, right))
	for name, x := range map[string]coapsec.Exchanger{
		"first to second": coapsec.Secure(first.To(peer(2)), toSecond),
		"second to first": coapsec.Secure(second.To(peer(1)), toFirst),
	} {
		if got := ask(t, x, hello); got.Code != codes.Content || string(got.Payload) != "hello world" {
			t.Errorf("%s: got %v %q", name, got.Code, got.Payload)
		}
		blocks := coapsec.Blocks(x, coapsec.BlocksOptions{})
		if got := ask(t, blocks, coapsec.NewRequest(codes.POST, "/echo", message.AppOctets, body)); !bytes.Equal(got.Payload, body) {
			t.Errorf("%s: got %v, %d bytes", name, got.Code, len(got.Payload))
		}
	}
	if got := ask(t, first.To(peer(2)), hello); got.Code != codes.Unauthorized {
		t.Errorf("unprotected: got %v", got.Code)
	}
}
