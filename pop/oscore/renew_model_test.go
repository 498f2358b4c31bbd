package oscore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"pgregory.net/rapid"
)

// counter is a random source that never repeats a value.
type counter struct{ n uint64 }

func (c *counter) Read(p []byte) (int, error) {
	for i := 0; i+8 <= len(p); i += 8 {
		c.n++
		binary.BigEndian.PutUint64(p[i:], c.n)
	}
	return len(p), nil
}

// renewals is appendix B.2 over a network that loses, repeats and reorders.
type renewals struct {
	responder *Responder
	random    *counter
	now       time.Time
	waiting   []*WaitResponse1
	upward    []message.Message // requests
	downward  []message.Message // responses #1
	made      map[string]*attempt
	sealed    map[string][]byte // by kid context, request and direction
}

// attempt is a request #2.
type attempt struct {
	client   *Context
	asked    *Exchange
	accepted bool
}

func newRenewals(t *testing.T) *renewals {
	random := &counter{}
	return &renewals{
		responder: newResponder(t, random), random: random, now: time.Unix(0, 0),
		made: map[string]*attempt{}, sealed: map[string][]byte{},
	}
}

// once checks that what lies under one key and nonce is one message.
func (w *renewals) once(r *rapid.T, key string, m message.Message) {
	if before, ok := w.sealed[key]; ok && !bytes.Equal(before, m.Payload) {
		r.Fatalf("two messages under one nonce: %s", key)
	}
	w.sealed[key] = m.Payload
}

func (w *renewals) begin(r *rapid.T) {
	request1, wait, err := Initiate(clientRoot, w.random)
	if err != nil {
		r.Fatal(err)
	}
	w.once(r, fmt.Sprintf("up %x", request1.Options[0].Value), request1)
	w.waiting = append(w.waiting, wait)
	w.upward = append(w.upward, request1)
}

// toServer delivers any request that was ever sent.
func (w *renewals) toServer(r *rapid.T, i int) {
	m := w.upward[i]
	renewed, err := w.responder.Serve(m, w.now)
	second := w.made[string(m.Payload)]
	switch {
	case err != nil:
		return
	case renewed.Reply != nil:
		if second != nil {
			r.Fatal("request #2 was taken for request #1")
		}
		w.once(r, fmt.Sprintf("down %x to %x", renewed.Reply.Options[0].Value, m.Options[0].Value), *renewed.Reply)
		w.downward = append(w.downward, *renewed.Reply)
	case second == nil || second.accepted:
		r.Fatal("a context comes from a request #1, or twice from one request #2")
	default:
		second.accepted = true
		if len(w.responder.runs) != 0 {
			r.Fatal("other runs are still open")
		}
		both(r, renewed, second)
	}
}

// both checks that the two ends have one context.
func both(r *rapid.T, renewed Renewed, a *attempt) {
	response, err := renewed.Context.ProtectResponse(renewed.Exchange, content("ok"), false)
	if err != nil {
		r.Fatal(err)
	}
	if inner, err := a.client.UnprotectResponse(a.asked, response); err != nil || string(inner.Payload) != "ok" {
		r.Fatalf("response #2: %v", err)
	}
	request, _, err := renewed.Context.ProtectRequest(get("back"))
	if err != nil {
		r.Fatal(err)
	}
	if _, _, err := a.client.UnprotectRequest(request); err != nil {
		r.Fatalf("a request of the server: %v", err)
	}
}

// toClient delivers any response #1 to any client that still waits.
func (w *renewals) toClient(r *rapid.T, i, client int) {
	wait := w.waiting[client]
	c, err := wait.Accept(w.downward[i])
	if err != nil {
		return
	}
	w.waiting = append(w.waiting[:client:client], w.waiting[client+1:]...)
	request2, asked, err := c.ProtectRequest(message.Message{Code: codes.POST, Payload: []byte("two")})
	if err != nil {
		r.Fatal(err)
	}
	w.once(r, fmt.Sprintf("up %x", request2.Options[0].Value), request2)
	w.made[string(request2.Payload)] = &attempt{client: c, asked: asked}
	w.upward = append(w.upward, request2)
}

func TestRenewalOverABadNetwork(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := newRenewals(t)
		for range rapid.IntRange(1, 60).Draw(r, "steps") {
			switch step := rapid.IntRange(0, 9).Draw(r, "step"); {
			case step < 2:
				w.begin(r)
			case step < 6 && len(w.upward) > 0:
				w.toServer(r, rapid.IntRange(0, len(w.upward)-1).Draw(r, "request"))
			case step < 9 && len(w.downward) > 0 && len(w.waiting) > 0:
				w.toClient(r, rapid.IntRange(0, len(w.downward)-1).Draw(r, "response"), rapid.IntRange(0, len(w.waiting)-1).Draw(r, "client"))
			case step == 9:
				w.now = w.now.Add(time.Duration(rapid.IntRange(0, 70).Draw(r, "seconds")) * time.Second)
			}
			if len(w.responder.runs) > MaxRenewals {
				r.Fatalf("%d open runs", len(w.responder.runs))
			}
		}
		w.complete(r)
	})
}

// complete is a run that nothing disturbs: whatever happened before, it succeeds.
func (w *renewals) complete(r *rapid.T) {
	w.begin(r)
	w.toServer(r, len(w.upward)-1)
	before := len(w.made)
	w.toClient(r, len(w.downward)-1, len(w.waiting)-1)
	if len(w.made) != before+1 {
		r.Fatal("response #1 is refused")
	}
	last := w.upward[len(w.upward)-1]
	w.toServer(r, len(w.upward)-1)
	if !w.made[string(last.Payload)].accepted {
		r.Fatal("request #2 is refused")
	}
	for i := range w.upward { // replays of everything
		w.toServer(r, i)
	}
}

// F36: a replayed request #1 costs a bounded amount of memory, and never makes a context.
func TestRequest1ReplayedAThousandTimes(t *testing.T) {
	random := &counter{}
	responder := newResponder(t, random)
	request1, _, err := Initiate(clientRoot, random)
	if err != nil {
		t.Fatal(err)
	}
	drawn := map[string]bool{}
	for i := range 1000 {
		now := time.Unix(0, 0).Add(time.Duration(i) * time.Second)
		renewed, err := responder.Serve(request1, now)
		if err != nil || renewed.Context != nil || renewed.Reply == nil {
			t.Fatalf("replay %d: %+v, %v", i, renewed, err)
		}
		drawn[string(renewed.Reply.Options[0].Value)] = true
		if len(responder.runs) != 1 {
			t.Fatalf("%d open runs", len(responder.runs))
		}
	}
	if most := 1000/int(RenewalLifetime/time.Second) + 1; len(drawn) > most {
		t.Errorf("%d values of R2 for one request, want %d at most", len(drawn), most)
	}
}
