package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/coapsec/dtls"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

const (
	identity = "phone"
	key      = "sixteen bytes ok"
)

// libcoap starts libcoap's example server on a free port and the next one, which it uses for DTLS.
func libcoap(t *testing.T) (plain, secured netip.AddrPort) {
	t.Helper()
	for range 20 {
		port := freePort(t)
		command := exec.Command("coap-server-openssl", "-A", "127.0.0.1", "-p", fmt.Sprint(port), "-d", "4", "-h", "server", "-k", key)
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		plain, secured = loopback(port), loopback(port+1)
		if answers(t, plain) {
			t.Cleanup(func() { command.Process.Kill(); command.Wait() })
			return plain, secured
		}
		command.Process.Kill()
		command.Wait()
	}
	t.Fatal("libcoap's server does not start")
	return plain, secured
}

func loopback(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
}

func freePort(t *testing.T) uint16 {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
}

// answers asks until somebody is there.
func answers(t *testing.T, server netip.AddrPort) bool {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err := client(t).To(server).Exchange(ctx, coapsec.NewRequest(codes.GET, "/", coapsec.NoFormat, nil))
	return err == nil
}

func client(t *testing.T) *coapsec.Endpoint {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := coapsec.NewEndpoint(conn, nil, coapsec.EndpointOptions{AckTimeout: 200 * time.Millisecond})
	go e.Serve(t.Context())
	t.Cleanup(func() { e.Close() })
	return e
}

// TestOurClientAgainstLibcoap: what is stored in blocks comes back in blocks, and what is observed goes on coming.
func TestOurClientAgainstLibcoap(t *testing.T) {
	plain, secured := libcoap(t)
	t.Run("udp", func(t *testing.T) { talk(t, client(t).To(plain)) })
	t.Run("dtls", func(t *testing.T) {
		conn, err := dtls.Dial(t.Context(), secured, []byte(identity), []byte(key), dtls.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		talk(t, conn)
	})
	t.Run("dtls with another key", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if conn, err := dtls.Dial(ctx, secured, []byte(identity), []byte("fifteen and one!"), dtls.Options{}); err == nil {
			conn.Close()
			t.Error("a wrong key was taken")
		}
	})
}

func talk(t *testing.T, x coapsec.Exchanger) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 3000/16)
	for _, size := range []int{64, 1024} {
		path := fmt.Sprintf("/stored%d", size)
		blocks := coapsec.UploadBlocks(x, size)
		request := coapsec.NewRequest(codes.PUT, path, message.AppOctets, body)
		if response, err := blocks.Exchange(t.Context(), request); err != nil || response.Code>>5 != 2 {
			t.Fatalf("PUT in blocks of %d: %v, %v", size, response.Code, err)
		}
		response, err := blocks.Exchange(t.Context(), coapsec.NewRequest(codes.GET, path, coapsec.NoFormat, nil))
		if err != nil || !bytes.Equal(response.Payload, body) {
			t.Fatalf("GET after blocks of %d: %d bytes, %v, %v", size, len(response.Payload), response.Code, err)
		}
	}
	observer, ok := x.(coapsec.Observer)
	if !ok {
		t.Fatal("this client cannot observe")
	}
	seen := map[string]bool{}
	enough := errors.New("enough")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := observer.Observe(ctx, coapsec.NewRequest(codes.GET, "/time", coapsec.NoFormat, nil), func(m message.Message) error {
		if seen[string(m.Payload)] = true; len(seen) == 3 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Errorf("observing ended with %v after %d states", err, len(seen))
	}
}
