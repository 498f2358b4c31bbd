package oscore

import (
	"bytes"
	"errors"
	"testing"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// F38: the last numbers are used, reserved no further than they go, and then the context is done for, for good.
func TestSequenceEnds(t *testing.T) {
	d := &disk{}
	p := Params{MasterSecret: testSecret, SenderID: []byte{1}, RecipientID: []byte{2}}
	c := newContext(t, p, Options{Sequence: d, Next: MaxEncryptions - 2})
	for _, want := range [][]byte{{0xff, 0xff, 0xfe}, {0xff, 0xff, 0xff}} {
		if c.Exhausted() {
			t.Error("exhausted before the last number")
		}
		m, _ := mustRequest(t, c, get("a"))
		if got := optionOf(t, m).PartialIV; !bytes.Equal(got, want) {
			t.Errorf("partial iv %x, want %x", got, want)
		}
	}
	if d.limit != MaxEncryptions {
		t.Errorf("limit %d, want %d", d.limit, MaxEncryptions)
	}
	for name, next := range map[string]uint64{"at the limit": d.limit, "at 2^40-1": MaxSequence, "beyond": MaxSequence + 1} {
		again := newContext(t, p, Options{Sequence: d, Next: next})
		if _, _, err := again.ProtectRequest(get("a")); !errors.Is(err, ErrExhausted) || !again.Exhausted() {
			t.Errorf("%s: got %v, want %v", name, err, ErrExhausted)
		}
	}
	if _, _, err := c.ProtectRequest(get("a")); !errors.Is(err, ErrExhausted) {
		t.Errorf("got %v, want %v", err, ErrExhausted)
	}
}

// A used-up server still reads, and answers with the nonces of requests. That ends where a peer without such a limit goes on.
func TestExhaustedServerStillAnswers(t *testing.T) {
	client, server := pair(t, nil)
	server.next = MaxEncryptions
	for number, want := range map[uint64]error{7: nil, MaxEncryptions - 1: nil, MaxEncryptions: ErrExhausted, MaxSequence: ErrExhausted} {
		client.next, server.window = 0, window{}
		x := newExchange(client, client.SenderID(), encodePIV(new([8]byte), number))
		option := Option{PartialIV: x.partialIV(), KID: client.SenderID(), HasKID: true}
		outer := message.Message{
			Code: codes.POST, Options: message.Options{{ID: OptionOSCORE, Value: option.Encode()}},
			Payload: client.keys().send.Seal(nil, x.nonce[:], []byte{byte(codes.GET)}, x.aad[:x.aadSize]),
		}
		_, served := mustUnprotect(t, server, outer)
		if _, err := server.ProtectResponse(served, content("ok"), false); !errors.Is(err, want) {
			t.Errorf("request %d: got %v, want %v", number, err, want)
		}
	}
}

func TestForgeriesRetireTheContext(t *testing.T) {
	for name, algorithm := range map[string]*algorithm{"short tag": &algorithms[2], "long tag": &algorithms[4]} {
		client, server := pair(t, func(p *Params) { p.Algorithm = algorithm.id })
		served, _ := mustRequest(t, client, get("a"))
		_, x := mustUnprotect(t, server, served)
		request, _ := mustRequest(t, client, get("a"))
		forged := request
		forged.Payload = make([]byte, len(request.Payload))
		server.failures.Store(algorithm.failures - 1)
		if _, _, err := server.UnprotectRequest(forged); !errors.Is(err, ErrDecrypt) {
			t.Errorf("%s: the last forgery: got %v, want %v", name, err, ErrDecrypt)
		}
		if !server.Exhausted() {
			t.Errorf("%s: the context goes on", name)
		}
		if _, _, err := server.UnprotectRequest(request); !errors.Is(err, ErrExhausted) {
			t.Errorf("%s: a true request: got %v, want %v", name, err, ErrExhausted)
		}
		if _, _, err := server.ProtectRequest(get("a")); !errors.Is(err, ErrExhausted) {
			t.Errorf("%s: an own request: got %v, want %v", name, err, ErrExhausted)
		}
		if _, err := server.ProtectResponse(x, content("ok"), false); !errors.Is(err, ErrExhausted) {
			t.Errorf("%s: a response: got %v, want %v", name, err, ErrExhausted)
		}
		if m := ErrorResponse(ErrExhausted); m.Code != codes.Unauthorized {
			t.Errorf("the peer hears %v, want 4.01", m.Code)
		}
	}
}

// Only ciphertexts that the key was tried on count: what is refused before gives no chance.
func TestWhatCountsAsForgery(t *testing.T) {
	client, server := pair(t, nil)
	request, asked := mustRequest(t, client, get("a"))
	_, x := mustUnprotect(t, server, request)
	if _, _, err := server.UnprotectRequest(request); !errors.Is(err, ErrReplay) {
		t.Fatal(err)
	}
	response := mustRespond(t, server, x, true)
	response.Payload[0] ^= 1
	if _, err := client.UnprotectResponse(asked, response); !errors.Is(err, ErrDecrypt) {
		t.Fatal(err)
	}
	if server.failures.Load() != 0 || client.failures.Load() != 1 {
		t.Errorf("failures %d and %d, want 0 and 1", server.failures.Load(), client.failures.Load())
	}
}

func TestEveryAlgorithm(t *testing.T) {
	for i := range algorithms {
		a := &algorithms[i]
		client, server := pair(t, func(p *Params) { p.Algorithm = a.id; p.SenderID = make([]byte, a.maxID()) })
		request, asked := mustRequest(t, client, get("a"))
		if got, want := len(request.Payload), 1+2+a.tag; got != want {
			t.Errorf("algorithm %d: ciphertext of %d bytes, want %d", a.id, got, want)
		}
		_, x := mustUnprotect(t, server, request)
		for _, ownPIV := range []bool{false, true} {
			asked.done.Store(none)
			if _, err := client.UnprotectResponse(asked, mustRespond(t, server, x, ownPIV)); err != nil {
				t.Errorf("algorithm %d: %v", a.id, err)
			}
		}
		if _, err := New(Params{MasterSecret: testSecret, SenderID: make([]byte, a.maxID()+1), Algorithm: a.id}, Options{}); err == nil {
			t.Errorf("algorithm %d: an id of %d bytes is accepted", a.id, a.maxID()+1)
		}
	}
}
