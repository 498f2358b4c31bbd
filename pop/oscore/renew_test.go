package oscore

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

var (
	clientRoot = Params{MasterSecret: testSecret, SenderID: []byte{1}, RecipientID: []byte{2}}
	serverRoot = Params{MasterSecret: testSecret, SenderID: []byte{2}, RecipientID: []byte{1}}
	noon       = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
)

func newResponder(t testing.TB, random io.Reader) *Responder {
	t.Helper()
	r, err := NewResponder(serverRoot, random)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func initiate(t testing.TB) (message.Message, *WaitResponse1) {
	t.Helper()
	request1, wait, err := Initiate(clientRoot, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return request1, wait
}

func serve(t testing.TB, r *Responder, m message.Message) Renewed {
	t.Helper()
	renewed, err := r.Serve(m, noon)
	if err != nil {
		t.Fatal(err)
	}
	return renewed
}

// renew runs a whole exchange up to request #2.
func renew(t testing.TB, r *Responder) (client *Context, request2 message.Message, asked *Exchange) {
	t.Helper()
	request1, wait := initiate(t)
	client, err := wait.Accept(*serve(t, r, request1).Reply)
	if err != nil {
		t.Fatal(err)
	}
	request2, asked = mustRequest(t, client, get("register"))
	return client, request2, asked
}

func TestRenewal(t *testing.T) {
	r := newResponder(t, rand.Reader)
	client, request2, asked := renew(t, r)
	done := serve(t, r, request2)
	if done.Context == nil || done.Inner.Code != codes.GET || done.Reply != nil {
		t.Fatalf("request #2: %+v", done)
	}
	if !bytes.Equal(done.Context.IDContext(), client.IDContext()) || len(client.IDContext()) != 2*RenewalNonce {
		t.Errorf("id contexts %x and %x", done.Context.IDContext(), client.IDContext())
	}
	response := mustRespond(t, done.Context, done.Exchange, false)
	if _, err := client.UnprotectResponse(asked, response); err != nil {
		t.Fatal(err)
	}
	// Both directions work, and further requests carry the same kid context.
	again, _ := mustRequest(t, client, get("b"))
	mustUnprotect(t, done.Context, again)
	back, _ := mustRequest(t, done.Context, get("c"))
	mustUnprotect(t, client, back)
	if !done.Context.Matches(optionOf(t, again)) {
		t.Error("a later request does not match the new context")
	}
}

// The wire forms of appendix B.2: nonces wrapped in CBOR byte strings, response #1 with a Partial IV of its own.
func TestRenewalOnTheWire(t *testing.T) {
	r1, r2, r3 := []byte("R1R1R1R1"), []byte("R2R2R2R2"), []byte("R3R3R3R3")
	request1, wait, err := Initiate(clientRoot, bytes.NewReader(append(bytes.Clone(r1), r3...)))
	if err != nil {
		t.Fatal(err)
	}
	r := newResponder(t, bytes.NewReader(r2))
	reply := serve(t, r, request1).Reply
	client, err := wait.Accept(*reply)
	if err != nil {
		t.Fatal(err)
	}
	request2, _ := mustRequest(t, client, get("a"))
	for _, c := range []struct {
		name string
		got  Option
		kctx string
		piv  []byte
	}{
		{"request #1", optionOf(t, request1), "\x48R1R1R1R1", []byte{0}},
		{"response #1", optionOf(t, *reply), "\x48R2R2R2R2", []byte{0}},
		{"request #2", optionOf(t, request2), "\x50R2R2R2R2R3R3R3R3", []byte{0}},
	} {
		if string(c.got.KIDContext) != c.kctx || !bytes.Equal(c.got.PartialIV, c.piv) {
			t.Errorf("%s: kid context %x, partial iv %x", c.name, c.got.KIDContext, c.got.PartialIV)
		}
	}
	second := newContext(t, func() Params { p := clientRoot; p.IDContext = []byte("R2R2R2R2R1R1R1R1"); return p }(), Options{})
	second.kidContext = []byte("\x48R2R2R2R2")
	inner, err := second.openResponse(new(Buffer), wait.exchange.reopened(), *reply, optionOf(t, *reply))
	if err != nil || inner.Code != codes.Unauthorized || len(inner.Payload) != 0 {
		t.Errorf("response #1 under R2 ‖ R1: %+v, %v", inner, err)
	}
}

// reopened is the exchange before any response.
func (x *Exchange) reopened() *Exchange { x.done.Store(none); return x }

func TestReplayedRequest2IsRefused(t *testing.T) {
	r := newResponder(t, rand.Reader)
	_, request2, _ := renew(t, r)
	serve(t, r, request2)
	if _, err := r.Serve(request2, noon); !errors.Is(err, ErrNoContext) {
		t.Errorf("request #2 again: got %v, want %v", err, ErrNoContext)
	}
	if _, err := newResponder(t, rand.Reader).Serve(request2, noon); !errors.Is(err, ErrNoContext) {
		t.Errorf("request #2 to a restarted server: got %v, want %v", err, ErrNoContext)
	}
}

func TestCompletedRunEndsTheOthers(t *testing.T) {
	r := newResponder(t, rand.Reader)
	_, other, _ := renew(t, r)
	_, request2, _ := renew(t, r)
	serve(t, r, request2)
	if _, err := r.Serve(other, noon); !errors.Is(err, ErrNoContext) {
		t.Errorf("request #2 of an older run: got %v, want %v", err, ErrNoContext)
	}
}

func TestReplayedRequest1GetsTheSameAnswer(t *testing.T) {
	r := newResponder(t, rand.Reader)
	request1, _ := initiate(t)
	first, again := serve(t, r, request1).Reply, serve(t, r, request1).Reply
	if !bytes.Equal(first.Payload, again.Payload) || len(r.runs) != 1 {
		t.Errorf("%d runs, answers %x and %x", len(r.runs), first.Payload, again.Payload)
	}
}

func TestResponderRefuses(t *testing.T) {
	forgedRoot := clientRoot
	forgedRoot.MasterSecret = []byte("another secret..")
	forged, _, err := Initiate(forgedRoot, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	strangerRoot := clientRoot
	strangerRoot.SenderID = []byte{9}
	stranger, _, err := Initiate(strangerRoot, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	plain := newContext(t, clientRoot, Options{})
	underRoot, _ := mustRequest(t, plain, get("a"))
	unwrapped := newContext(t, func() Params { p := clientRoot; p.IDContext = make([]byte, 8); return p }(), Options{})
	raw, _ := mustRequest(t, unwrapped, get("a"))
	r := newResponder(t, rand.Reader)
	for _, c := range []struct {
		name string
		m    message.Message
		want error
	}{
		{"request #1 under another secret", forged, ErrDecrypt},
		{"request #1 with another kid", stranger, ErrNoContext},
		{"a request under the root itself", underRoot, ErrNoContext},
		{"a kid context that is not wrapped", raw, ErrNoContext},
		{"an unprotected request", get("a"), ErrNoContext},
	} {
		if got, err := r.Serve(c.m, noon); !errors.Is(err, c.want) || got.Reply != nil || got.Context != nil {
			t.Errorf("%s: got %+v, %v, want %v", c.name, got, err, c.want)
		}
	}
	if len(r.runs) != 0 {
		t.Errorf("%d runs remembered", len(r.runs))
	}
}

func TestForgedRequest2LeavesTheRunOpen(t *testing.T) {
	r := newResponder(t, rand.Reader)
	_, request2, _ := renew(t, r)
	forged := request2
	forged.Payload = bytes.Clone(request2.Payload)
	forged.Payload[0] ^= 1
	if _, err := r.Serve(forged, noon); !errors.Is(err, ErrDecrypt) {
		t.Errorf("forged: got %v, want %v", err, ErrDecrypt)
	}
	serve(t, r, request2)
}

func TestOutstandingRunsAreBounded(t *testing.T) {
	r := newResponder(t, rand.Reader)
	_, oldest, _ := renew(t, r)
	var newest message.Message
	for range MaxRenewals {
		_, newest, _ = renew(t, r)
	}
	if len(r.runs) != MaxRenewals {
		t.Errorf("%d runs, want %d", len(r.runs), MaxRenewals)
	}
	if _, err := r.Serve(oldest, noon); !errors.Is(err, ErrNoContext) {
		t.Errorf("oldest: got %v, want %v", err, ErrNoContext)
	}
	serve(t, r, newest)
}

func TestOutstandingRunsExpire(t *testing.T) {
	r := newResponder(t, rand.Reader)
	_, request2, _ := renew(t, r)
	if _, err := r.Serve(request2, noon.Add(RenewalLifetime)); !errors.Is(err, ErrNoContext) {
		t.Errorf("request #2 after a minute: got %v, want %v", err, ErrNoContext)
	}
	_, request2, _ = renew(t, r)
	if _, err := r.Serve(request2, noon.Add(RenewalLifetime-time.Second)); err != nil {
		t.Errorf("request #2 a second earlier: %v", err)
	}
}

func TestInitiatorWithoutRandomnessGoesOnLater(t *testing.T) {
	request1, wait := initiate(t)
	reply := *serve(t, newResponder(t, rand.Reader), request1).Reply
	wait.random = bytes.NewReader(nil)
	if _, err := wait.Accept(reply); err == nil {
		t.Fatal("a context without R3")
	}
	wait.random = rand.Reader
	if _, err := wait.Accept(reply); err != nil {
		t.Errorf("response #1 again: %v", err)
	}
}

func TestInitiatorRefuses(t *testing.T) {
	r := newResponder(t, rand.Reader)
	request1, wait := initiate(t)
	other, _ := initiate(t)
	reply := *serve(t, r, request1).Reply
	for name, m := range map[string]message.Message{
		"response #1 of another run": *serve(t, r, other).Reply,
		"an unprotected 4.01":        ErrorResponse(ErrNoContext),
		"its own request":            request1,
	} {
		if _, err := wait.Accept(m); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	// The mask of the kid context shows whether R2 is bound: any change leads to another second context.
	at, _, _ := reply.Options.Find(OptionOSCORE)
	for bit := range len(reply.Options[at].Value) * 8 {
		reply.Options[at].Value[bit/8] ^= 1 << (bit % 8)
		if _, err := wait.Accept(reply); err == nil {
			t.Errorf("response #1 with bit %d flipped: accepted", bit)
		}
		reply.Options[at].Value[bit/8] ^= 1 << (bit % 8)
	}
	// R2 as an array of numbers, and behind a tag: a CBOR library takes both for the bytes.
	option, written := optionOf(t, reply), reply.Options[at].Value
	r2 := option.KIDContext[1:]
	list := []byte{0x80 | RenewalNonce}
	for _, b := range r2 {
		if b >= 24 {
			list = append(list, 0x18)
		}
		list = append(list, b)
	}
	for name, spelling := range map[string][]byte{"an array": list, "a tagged string": append([]byte{0xd7}, option.KIDContext...)} {
		option.KIDContext = spelling
		reply.Options[at].Value = option.Encode()
		if _, err := wait.Accept(reply); !errors.Is(err, ErrDecode) {
			t.Errorf("R2 as %s: got %v, want %v", name, err, ErrDecode)
		}
	}
	reply.Options[at].Value = written
	if _, err := wait.Accept(reply); err != nil {
		t.Errorf("the true response #1 afterwards: %v", err)
	}
	if _, err := wait.Accept(reply); !errors.Is(err, ErrReplay) {
		t.Errorf("response #1 twice: got %v, want %v", err, ErrReplay)
	}
}

func TestResponse1MustBe4_01(t *testing.T) {
	request1, wait := initiate(t)
	first, err := serverRoot.derived(wait.r1)
	if err != nil {
		t.Fatal(err)
	}
	_, x := mustUnprotect(t, first, request1)
	r2 := []byte("R2R2R2R2")
	second, err := serverRoot.derived(r2, wait.r1)
	if err != nil {
		t.Fatal(err)
	}
	response, err := second.protectResponse(new(Buffer), x, &answer{content("done"), true, append([]byte{0x48}, r2...)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := wait.Accept(response); !errors.Is(err, ErrInner) {
		t.Errorf("2.05: got %v, want %v", err, ErrInner)
	}
}

func TestRenewalNeedsRandomness(t *testing.T) {
	empty := bytes.NewReader(nil)
	if _, _, err := Initiate(clientRoot, empty); err == nil {
		t.Error("initiated without randomness")
	}
	request1, _ := initiate(t)
	if _, err := newResponder(t, empty).Serve(request1, noon); err == nil {
		t.Error("answered without randomness")
	}
	withContext := serverRoot
	withContext.IDContext = []byte{1}
	if _, err := NewResponder(withContext, rand.Reader); err == nil {
		t.Error("root with an id context accepted")
	}
}

func FuzzResponder(f *testing.F) {
	request1, _ := initiate(f)
	at, _, _ := request1.Options.Find(OptionOSCORE)
	f.Add(request1.Options[at].Value, request1.Payload)
	r := newResponder(f, rand.Reader)
	_, request2, _ := renew(f, r)
	f.Add(request2.Options[at].Value, request2.Payload)
	f.Fuzz(func(t *testing.T, value, payload []byte) {
		m := message.Message{Code: codes.POST, Options: message.Options{{ID: OptionOSCORE, Value: value}}, Payload: payload}
		if _, err := r.Serve(m, noon); err != nil && ErrorResponse(err).Code == codes.InternalServerError {
			t.Fatalf("unexpected error: %v", err)
		}
	})
}
