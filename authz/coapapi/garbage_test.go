package coapapi_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz/delivery/deliverytest"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// inside is the face without sockets: protected requests go from hand to hand.
type inside struct {
	*world
	clientEnd, lockEnd *coapsec.Channel
}

func newInside(t testing.TB) *inside {
	t.Helper()
	w := newWorld(t)
	return &inside{w, deliverytest.Peer(*w.client.Channel), w.lock.Channel()}
}

func (i *inside) ask(channel *coapsec.Channel, request message.Message) (message.Message, error) {
	return channel.Exchange(context.Background(), exchanger(func(ctx context.Context, m message.Message) (message.Message, error) {
		return i.face.ServeCoAP(ctx, &coapsec.Request{Message: m, Peer: coapsec.Peer{Address: i.lock.Address().String()}}), nil
	}), request)
}

// sane checks what holds for the answer to any request at all.
func sane(t *testing.T, request, answer message.Message) {
	t.Helper()
	path, _ := (&coapsec.Request{Message: request}).Path()
	class := answer.Code >> 5
	if class != 2 && class != 4 {
		t.Fatalf("%v %s %x: got %v", request.Code, path, request.Payload, answer.Code)
	}
	if len(answer.Payload) == 0 || path != ace.PathToken {
		return
	}
	var err error
	if class == 2 {
		_, err = ace.ParseTokenResponseCBOR(answer.Payload)
	} else {
		_, err = ace.ParseErrorCBOR(answer.Payload)
	}
	if err != nil {
		t.Fatalf("%x: answer %x: %v", request.Payload, answer.Payload, err)
	}
}

// goodRequests are payloads to damage.
func goodRequests(t testing.TB) (token, register []byte) {
	t.Helper()
	token = encoded(t, ace.TokenRequest{
		Audience: "front-door", Scope: ace.Scope{Rights: unlock}, CNonce: []byte{1}, Profile: ace.TellProfile(), TokenUpload: uintp(1), ToRS: toRS(t),
		ReqCnf: &pop.Confirmation{Key: cose.NewSymmetric([]byte("0123456789abcdef"), nil)},
	})
	return token, deliverytest.RegisterRequest(t, time.Minute).Payload
}

// TestEveryTruncationIsRefused: a map that is cut anywhere is none.
func TestEveryTruncationIsRefused(t *testing.T) {
	w := newWorld(t)
	gateway := w.caller(w.client)
	token, register := goodRequests(t)
	for n := range token {
		refusedWith(t, gateway.ask(tokenRequest(token[:n])), codes.BadRequest, ace.InvalidRequest)
	}
	for n := range register {
		answer, err := w.lock.Ask(t.Context(), w.endpoint.LocalAddr(), coapsec.NewRequest(codes.POST, ace.PathRegister, ace.FormatCBOR, register[:n]))
		if err != nil || answer.Code != codes.BadRequest {
			t.Errorf("registration cut at %d: got %v, %v", n, answer.Code, err)
		}
	}
	if n := w.tokens(); n != 0 || w.registration().Address != "" {
		t.Errorf("%d tokens, registered at %q", n, w.registration().Address)
	}
	if answer := gateway.ask(tokenRequest(token)); answer.Code != codes.Created {
		t.Errorf("the whole: got %v", answer.Code)
	}
}

// TestGarbageIsAnsweredSanely: each bit flipped, then bytes at random.
func TestGarbageIsAnsweredSanely(t *testing.T) {
	i := newInside(t)
	try := func(channel *coapsec.Channel, request message.Message) {
		t.Helper()
		answer, err := i.ask(channel, request)
		if err != nil {
			t.Fatal(err)
		}
		sane(t, request, answer)
	}
	both := func(payload []byte) {
		t.Helper()
		try(i.clientEnd, tokenRequest(payload))
		try(i.lockEnd, coapsec.NewRequest(codes.POST, ace.PathRegister, ace.FormatCBOR, payload))
	}
	token, register := goodRequests(t)
	for _, good := range [][]byte{token, register} {
		for bit := range 8 * len(good) {
			flipped := bytes.Clone(good)
			flipped[bit/8] ^= 1 << (bit % 8)
			both(flipped)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		payload := make([]byte, random.IntN(200))
		for n := range payload {
			payload[n] = byte(random.Uint32())
		}
		if len(payload) > 0 && random.IntN(2) == 0 {
			payload[0] = 0xa0 | payload[0]&0x0f // a map, at least
		}
		both(payload)
	}
}

// FuzzProtected gives the face what only the holder of a key can send: any code, path, format, query and payload.
func FuzzProtected(f *testing.F) {
	token, register := goodRequests(f)
	post := byte(codes.POST)
	f.Add(false, post, ace.PathToken, uint16(ace.FormatACE), "", token)
	f.Add(false, post, ace.PathToken, uint16(ace.FormatACE), "", encoded(f, ace.TokenRequest{GrantTypeImplied: true, Audience: "front-door"}))
	f.Add(false, post, ace.PathToken, uint16(ace.FormatACE), "a=b", token)
	f.Add(true, post, ace.PathRegister, uint16(ace.FormatCBOR), "", register)
	f.Add(true, post, ace.PathToken, uint16(ace.FormatACE), "", token)
	f.Add(false, byte(codes.GET), "/.well-known/core", uint16(coapsec.NoFormat), "", []byte(nil))
	i := newInside(f)
	f.Fuzz(func(t *testing.T, device bool, code byte, path string, format uint16, query string, payload []byte) {
		if code == 0 || code>>5 != 0 || len(path)+len(query)+len(payload) > 1024 {
			return
		}
		request := coapsec.NewRequest(codes.Code(code), path, message.MediaType(format), payload)
		if query != "" {
			request.Options = request.Options.Add(message.Option{ID: message.URIQuery, Value: []byte(query)})
		}
		channel := i.clientEnd
		if device {
			channel = i.lockEnd
		}
		answer, err := i.ask(channel, request)
		if err != nil {
			return // the client's side does not send everything
		}
		sane(t, request, answer)
	})
}
