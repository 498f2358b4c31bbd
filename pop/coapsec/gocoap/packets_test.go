package gocoap_test

import (
	"bytes"
	"context"
	"net"
	"path/filepath"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// listenFile is a packet connection without IP: datagrams between files.
func listenFile(t testing.TB, name string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// TestAnyPacketConnection has both ends serve and ask, each on one socket.
func TestAnyPacketConnection(t *testing.T) {
	folder := t.TempDir()
	name := func(n string) *net.UnixAddr { return &net.UnixAddr{Name: filepath.Join(folder, n), Net: "unixgram"} }
	body := bytes.Repeat([]byte("0123456789"), 300)
	endpoint := func(n string, h coapsec.Handler) *coapsec.Endpoint {
		e := coapsec.NewEndpoint(listenFile(t, name(n).Name), h, coapsec.EndpointOptions{})
		running(t, func() error { return e.Serve(context.Background()) }, func() { _ = e.Close() })
		return e
	}
	toSecond, right := keys(t, secret)
	toFirst, left := keys(t, []byte("another secret b"))
	first, second := endpoint("1", security(t, left)), endpoint("2", security(t, right))
	to := func(e *coapsec.Endpoint, n string) coapsec.Exchanger {
		x, err := e.ToAddr(name(n))
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	nameless, err := net.DialUnix("unixgram", nil, name("2")) // nobody to answer: it costs only itself
	if err != nil {
		t.Fatal(err)
	}
	defer nameless.Close()
	for range 32 {
		_, _ = nameless.Write([]byte{0x40, 1, 0, 1})
	}
	for name, x := range map[string]coapsec.Exchanger{
		"first to second": coapsec.Secure(to(first, "2"), toSecond),
		"second to first": coapsec.Secure(to(second, "1"), toFirst),
	} {
		if got := ask(t, x, hello); got.Code != codes.Content || string(got.Payload) != "hello world" {
			t.Errorf("%s: got %v %q", name, got.Code, got.Payload)
		}
		blocks := coapsec.Blocks(x, coapsec.BlocksOptions{})
		if got := ask(t, blocks, coapsec.NewRequest(codes.POST, "/echo", message.AppOctets, body)); !bytes.Equal(got.Payload, body) {
			t.Errorf("%s: got %v, %d bytes", name, got.Code, len(got.Payload))
		}
	}
	if got := ask(t, to(first, "2"), hello); got.Code != codes.Unauthorized {
		t.Errorf("unprotected: got %v", got.Code)
	}
}
