package oscore

import (
	"bytes"
	"crypto/cipher"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// traffic is two endpoints that send each other requests, and a network that loses, repeats, reorders and falsifies what
// they send, while either may lose its memory. What is done is read from a program of bytes.
type traffic struct {
	t        *testing.T
	program  []byte
	now      int
	ends     [2]*endpoint
	network  []datagram
	requests []*asking
}

// endpoint is one end. nonces outlive its restarts.
type endpoint struct {
	params  Params
	disk    *disk
	context *Context
	started int
	nonces  map[string]bool
	served  []*serving
}

type datagram struct {
	outer   message.Message
	to      int
	request int
	answer  bool
}

// asking is a request as its sender, and this test, know it.
type asking struct {
	from      int
	sent      int
	exchange  *Exchange // nil after a restart of the sender
	observes  bool
	delivered int
	answers   int // made
	newest    int // of the answers accepted
}

type serving struct {
	request  int
	exchange *Exchange
}

// recorder refuses to encrypt two messages under one nonce.
type recorder struct {
	cipher.AEAD
	t      *testing.T
	nonces map[string]bool
}

func (r recorder) Seal(dst, nonce, plaintext, aad []byte) []byte {
	if r.nonces[string(nonce)] {
		r.t.Errorf("nonce %x is used twice", nonce)
	}
	r.nonces[string(nonce)] = true
	return r.AEAD.Seal(dst, nonce, plaintext, aad)
}

func newTraffic(t *testing.T, program []byte) *traffic {
	w := &traffic{t: t, program: program}
	for i := range w.ends {
		w.ends[i] = &endpoint{
			params: Params{MasterSecret: testSecret, SenderID: []byte{byte(i)}, RecipientID: []byte{byte(1 - i)}},
			disk:   &disk{}, nonces: map[string]bool{},
		}
		w.start(w.ends[i], false)
	}
	return w
}

// start begins a life of e, the first one or one without memory but for the disk.
func (w *traffic) start(e *endpoint, windowLost bool) {
	e.context = newContext(w.t, e.params, Options{Sequence: e.disk, Next: e.disk.limit, WindowLost: windowLost})
	keys := e.context.keys()
	keys.send = recorder{keys.send, w.t, e.nonces}
	e.started, e.served = w.now, nil
}

func (w *traffic) draw(n int) int {
	if len(w.program) == 0 || n == 0 {
		return 0
	}
	drawn := int(w.program[0]) % n
	w.program = w.program[1:]
	return drawn
}

func (w *traffic) run() {
	steps := []func(){w.ask, w.ask, w.deliver, w.deliver, w.deliver, w.answer, w.answer, w.falsify, w.lose, w.restart}
	for len(w.program) > 0 && !w.t.Failed() {
		w.now++
		steps[w.draw(len(steps))]()
	}
}

func (w *traffic) ask() {
	from := w.draw(2)
	q := &asking{from: from, sent: w.now, observes: w.draw(2) == 1, newest: -1}
	m := get(fmt.Sprint(len(w.requests)))
	if q.observes {
		m.Options = append(message.Options{{ID: message.Observe}}, m.Options...)
	}
	outer, x, err := w.ends[from].context.ProtectRequest(m)
	if err != nil {
		w.t.Fatal(err)
	}
	q.exchange = x
	w.network = append(w.network, datagram{outer: outer, to: 1 - from, request: len(w.requests)})
	w.requests = append(w.requests, q)
}

// deliver hands over any datagram, and lets the network keep a copy of it.
func (w *traffic) deliver() {
	if len(w.network) == 0 {
		return
	}
	d := w.network[w.draw(len(w.network))]
	if d.answer {
		w.deliverAnswer(d)
	} else {
		w.deliverRequest(d)
	}
}

func (w *traffic) deliverRequest(d datagram) {
	e, q := w.ends[d.to], w.requests[d.request]
	inner, x, err := e.context.UnprotectRequest(d.outer)
	if err != nil {
		if !errors.Is(err, ErrReplay) {
			w.t.Errorf("request %d: %v", d.request, err)
		}
		return
	}
	e.served = append(e.served, &serving{d.request, x})
	if x.WindowLost() {
		// An Echo made in this life would show as much.
		if fresh := q.sent > e.started; !fresh || e.context.RecoverWindow(x) != nil {
			return
		}
	}
	q.delivered++
	if path, err := inner.Options.Path(); q.delivered > 1 || err != nil || path != fmt.Sprint("/", d.request) {
		w.t.Errorf("request %d delivered %d times, as %q", d.request, q.delivered, path)
	}
}

func (w *traffic) deliverAnswer(d datagram) {
	e, q := w.ends[d.to], w.requests[d.request]
	for id, other := range w.requests {
		if id == d.request || other.from != d.to || other.exchange == nil {
			continue
		}
		if _, err := e.context.UnprotectNotification(other.exchange, d.outer); err == nil {
			w.t.Errorf("the answer to request %d passes for one to %d", d.request, id)
		}
		break
	}
	if q.exchange == nil {
		return
	}
	inner, err := e.context.UnprotectNotification(q.exchange, d.outer)
	if err != nil {
		if !errors.Is(err, ErrReplay) {
			w.t.Errorf("answer to %d: %v", d.request, err)
		}
		return
	}
	var request, number int
	if _, err := fmt.Sscan(string(inner.Payload), &request, &number); err != nil || request != d.request {
		w.t.Errorf("request %d is answered by %q", d.request, inner.Payload)
	}
	if number <= q.newest || !q.observes && q.newest >= 0 {
		w.t.Errorf("request %d: answer %d after %d", d.request, number, q.newest)
	}
	q.newest = number
}

// answer answers any request again, as a challenge to a request that may be a replay would be.
func (w *traffic) answer() {
	e := w.ends[w.draw(2)]
	if len(e.served) == 0 {
		return
	}
	s := e.served[w.draw(len(e.served))]
	q := w.requests[s.request]
	m := content(fmt.Sprint(s.request, q.answers))
	if w.draw(4) > 0 {
		m.Options = message.Options{{ID: message.Observe, Value: []byte{byte(q.answers)}}}
	}
	outer, err := e.context.ProtectResponse(s.exchange, m, w.draw(2) == 1)
	if err != nil {
		w.t.Fatal(err)
	}
	// The server's numbers grow with its answers, but for a first one without a number of its own.
	q.answers++
	w.network = append(w.network, datagram{outer: outer, to: q.from, request: s.request, answer: true})
}

func (w *traffic) falsify() {
	if len(w.network) == 0 {
		return
	}
	d := w.network[w.draw(len(w.network))]
	d.outer.Payload = bytes.Clone(d.outer.Payload)
	d.outer.Payload[w.draw(len(d.outer.Payload))] ^= 1 << w.draw(8)
	if bytes.Equal(d.outer.Payload, w.network[0].outer.Payload) {
		return
	}
	c := w.ends[d.to].context
	if d.answer {
		if x := w.requests[d.request].exchange; x != nil {
			if _, err := c.UnprotectNotification(x, d.outer); err == nil {
				w.t.Error("a false answer is accepted")
			}
		}
	} else if _, _, err := c.UnprotectRequest(d.outer); err == nil {
		w.t.Error("a false request is accepted")
	}
}

func (w *traffic) lose() {
	if len(w.network) == 0 {
		return
	}
	i := w.draw(len(w.network))
	w.network = append(w.network[:i:i], w.network[i+1:]...)
}

// restart is a power cut at one end: exchanges, window and numbers are gone.
func (w *traffic) restart() {
	if w.draw(4) > 0 { // they are rare
		return
	}
	end := w.draw(2)
	for _, q := range w.requests {
		if q.from == end {
			q.exchange = nil
		}
	}
	w.start(w.ends[end], true)
}

func TestTraffic(t *testing.T) {
	const programs = 300
	for seed := range uint64(programs) {
		random := rand.New(rand.NewPCG(seed, 8613))
		program := make([]byte, 600)
		for i := range program {
			program[i] = byte(random.Uint32())
		}
		newTraffic(t, program).run()
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func FuzzTraffic(f *testing.F) {
	f.Add([]byte{0, 0, 1, 2, 0, 5, 1, 0, 1, 1, 2, 1, 2, 0})
	f.Add(bytes.Repeat([]byte{0, 1, 0, 2, 3, 5, 0, 0, 1, 2, 9, 0, 1}, 20))
	f.Fuzz(func(t *testing.T, program []byte) {
		newTraffic(t, program[:min(len(program), 2000)]).run()
	})
}

// FuzzUnprotectResponse feeds the client what anyone may send.
func FuzzUnprotectResponse(f *testing.F) {
	p := Params{MasterSecret: testSecret, SenderID: []byte{1}, RecipientID: []byte{2}}
	client, server := pair(f, nil)
	request, _ := mustRequest(f, client, observe())
	_, x := mustUnprotect(f, server, request)
	for range 3 {
		m, err := server.ProtectResponse(x, notification("state", 1), false)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(m.Options[len(m.Options)-1].Value, m.Payload)
	}
	f.Add([]byte{}, []byte{})
	f.Add([]byte{0x19, 0, 1, 2, 3}, []byte("not a ciphertext"))
	f.Fuzz(func(t *testing.T, option, payload []byte) {
		client := newContext(t, p, Options{})
		_, asked := mustRequest(t, client, observe())
		outer := message.Message{Code: codes.Content, Options: message.Options{{ID: OptionOSCORE, Value: option}}, Payload: payload}
		inner, err := client.UnprotectNotification(asked, outer)
		if err == nil && (!isResponse(inner.Code) || inner.Options.HasOption(OptionOSCORE)) {
			t.Errorf("accepted %+v", inner)
		}
		if _, err := client.UnprotectNotification(asked, outer); err == nil {
			t.Error("accepted twice")
		}
		_, plain := mustRequest(t, client, get("a"))
		if _, err := client.UnprotectResponse(plain, outer); err == nil {
			t.Error("a response to another request is accepted")
		}
	})
}
