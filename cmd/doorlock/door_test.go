package main

import (
	"context"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/cmd/internal/event"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

func endpoint(t *testing.T, handler coapsec.Handler) *coapsec.Endpoint {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := coapsec.NewEndpoint(conn, handler, coapsec.EndpointOptions{})
	go e.Serve(t.Context())
	t.Cleanup(func() { e.Close() })
	return e
}

// TestLockStartsWithoutNameService: a lock that comes back from a power cut before the router does must serve its guests.
func TestLockStartsWithoutNameService(t *testing.T) {
	l := &lock{
		options: options{lifetime: time.Minute}, events: event.New(io.Discard, event.Options{}),
		device: &provision.Device{ASURIs: []string{"coap://no..name"}}, // no name service has an answer to this
	}
	r, err := l.registrar(nil, endpoint(t, nil), nil)
	if err != nil || len(r.Peers) != 1 {
		t.Fatalf("got %v, %v", r, err)
	}
	if _, err := r.Peers[0].Exchange(t.Context(), message.Message{Code: codes.GET}); err == nil {
		t.Error("the server was reached under no name")
	}
}

// TestURIs: DTLS first where it is spoken, and both fit a registration on a machine with many addresses.
func TestURIs(t *testing.T) {
	at := netip.MustParseAddrPort
	plain, secured := phoneDoor{scheme: schemeCoAP, at: at("192.0.2.1:5683")}, phoneDoor{scheme: schemeCoAPS, at: at("192.0.2.1:5684")}
	for _, tt := range []struct {
		doors []phoneDoor
		want  []string
	}{
		{nil, nil},
		{[]phoneDoor{plain}, []string{"coap://192.0.2.1:5683"}},
		{[]phoneDoor{secured, plain}, []string{"coaps://192.0.2.1:5684", "coap://192.0.2.1:5683"}},
	} {
		if got := localURIs(tt.doors); !slices.Equal(got, tt.want) {
			t.Errorf("got %v, want %v", got, tt.want)
		}
	}
	plain.at, secured.at = at("0.0.0.0:5683"), at("[::]:5684")
	if got := localURIs([]phoneDoor{secured, plain}); len(got) > ace.MaxURIs {
		t.Errorf("%d URIs, at most %d", len(got), ace.MaxURIs)
	}
}

func TestUplinkFindsTheServer(t *testing.T) {
	server := endpoint(t, coapsec.HandlerFunc(func(_ context.Context, r *coapsec.Request) message.Message {
		return message.Message{Code: codes.Content}
	}))
	up, err := newUplink(endpoint(t, nil), "coap://"+server.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	response, err := up.Exchange(t.Context(), message.Message{Code: codes.GET})
	if err != nil || response.Code != codes.Content {
		t.Errorf("got %v, %v", response.Code, err)
	}
}
