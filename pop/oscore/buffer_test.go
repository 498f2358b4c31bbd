package oscore

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"pgregory.net/rapid"
)

// Whatever a Buffer has held before, a message through it is the one that a new Buffer gives.
func TestUsedBufferIsLikeNew(t *testing.T) {
	var sent, received, answered Buffer
	var asked, x Exchange
	rapid.Check(t, func(r *rapid.T) {
		clientA, serverA := pair(t, nil)
		clientB, serverB := pair(t, nil)
		for range 5 {
			m := drawMessage(r)
			want, askedNew, err := clientA.ProtectRequest(m)
			if err != nil {
				r.Fatal(err)
			}
			got, err := clientB.ProtectRequestIn(&sent, &asked, m)
			same(r, "request", got, want, err)
			want, xNew, err := serverA.UnprotectRequest(want)
			if err != nil {
				r.Fatal(err)
			}
			got, err = serverB.UnprotectRequestIn(&received, &x, got)
			same(r, "inner request", got, want, err)
			answer := message.Message{Code: codes.Content, Options: got.Options, Payload: got.Payload} // an echo
			want, err = serverA.ProtectResponse(xNew, answer, false)
			if err != nil {
				r.Fatal(err)
			}
			got, err = serverB.ProtectResponseIn(&answered, &x, answer, false)
			same(r, "response", got, want, err)
			want, err = clientA.UnprotectResponse(askedNew, want)
			if err != nil {
				r.Fatal(err)
			}
			got, err = clientB.UnprotectResponseIn(&received, &asked, got)
			same(r, "inner response", got, want, err)
		}
	})
}

func drawMessage(r *rapid.T) message.Message {
	m := message.Message{Code: codes.POST, Payload: rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(r, "payload")}
	for _, id := range []message.OptionID{message.URIHost, message.Observe, message.URIPort, message.URIPath, message.URIQuery, 258} {
		if rapid.Bool().Draw(r, fmt.Sprint(id)) {
			m.Options = append(m.Options, message.Option{ID: id, Value: rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(r, "value")})
		}
	}
	return m
}

func same(r *rapid.T, what string, got, want message.Message, err error) {
	if err != nil {
		r.Fatal(err)
	}
	if got.Code != want.Code || !bytes.Equal(got.Payload, want.Payload) || fmt.Sprint(got.Options) != fmt.Sprint(want.Options) {
		r.Fatalf("%s: got %+v, want %+v", what, got, want)
	}
}

// The message handed in is the caller's before and after.
func TestBufferLeavesTheCallersMessageAlone(t *testing.T) {
	client, _ := pair(t, nil)
	var b Buffer
	var x Exchange
	first := message.Message{Code: codes.GET, Options: message.Options{{ID: message.URIHost, Value: []byte("a")}, {ID: message.URIPath, Value: []byte("b")}}}
	before := fmt.Sprint(first)
	for _, m := range []message.Message{first, get("door"), observe(), first} {
		if _, err := client.ProtectRequestIn(&b, &x, m); err != nil {
			t.Fatal(err)
		}
	}
	if got := fmt.Sprint(first); got != before {
		t.Errorf("got %s, want %s", got, before)
	}
}

// A failed request leaves an exchange that protects and accepts nothing.
func TestFailedRequestLeavesNoExchange(t *testing.T) {
	client, server := pair(t, nil)
	request, asked := mustRequest(t, client, get("a"))
	_, x := mustUnprotect(t, server, request)
	var b Buffer
	if _, err := server.UnprotectRequestIn(&b, x, request); err == nil {
		t.Fatal("a replay is accepted")
	}
	if _, err := client.ProtectRequestIn(&b, asked, content("no request")); err == nil {
		t.Fatal("a response is a request")
	}
	if x.Context() != nil || asked.Context() != nil {
		t.Error("the exchanges belong to a context")
	}
	if _, err := client.UnprotectResponse(asked, request); err == nil {
		t.Error("a response is accepted")
	}
	if m, err := server.ProtectResponse(x, content("secret"), false); !errors.Is(err, ErrUnprotectable) {
		t.Errorf("a response is protected: %v, %v", m, err)
	}
}
