package gatt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

func TestExchangeEverySize(t *testing.T) {
	for _, mtu := range []int{0, 24, 185, MaxMTU} {
		t.Run(fmt.Sprint("mtu ", mtu), func(t *testing.T) {
			p := startPeripheral(t, echo, Options{})
			a := startAir(t, p.path, nil)
			c := dial(t, a.path, Options{MTU: mtu})
			for size := range 481 {
				mustEcho(t, c, numbered(size))
			}
		})
	}
}

func TestSmallerMTUCounts(t *testing.T) {
	p := startPeripheral(t, echo, Options{MTU: 50})
	a := startAir(t, p.path, nil)
	mustEcho(t, dial(t, a.path, Options{MTU: 185}), numbered(300))
	if a.mtu != 50 {
		t.Errorf("mtu %d, want 50", a.mtu)
	}
}

func TestDialRefusesMTU(t *testing.T) {
	for _, mtu := range []int{-1, 22, MaxMTU + 1} {
		if _, err := Dial(t.Context(), "nowhere", Options{MTU: mtu}); err == nil {
			t.Errorf("mtu %d was taken", mtu)
		}
	}
}

func TestDialEndsWithContext(t *testing.T) {
	l, err := net.Listen("unix", socketPath(t)) // never answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, l.Addr().String(), Options{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want deadline exceeded", err)
	}
}

func TestTapSeesWholeValues(t *testing.T) {
	var mu sync.Mutex
	seen := map[string][][]byte{}
	p := startPeripheral(t, echo, Options{})
	c := dial(t, p.path, Options{Tap: func(direction string, value []byte) {
		mu.Lock()
		defer mu.Unlock()
		seen[direction] = append(seen[direction], bytes.Clone(value))
	}})
	payload := numbered(300)
	mustEcho(t, c, payload)
	c.Close()
	for _, direction := range []string{Downstream, Upstream} {
		found := false
		for _, value := range seen[direction] {
			f, err := decodeFrame(value)
			found = found || err == nil && bytes.Equal(f.message.Payload, payload)
		}
		if !found {
			t.Errorf("%s: no value with the payload among %x", direction, seen[direction])
		}
	}
}

func TestExchangesFindTheirAnswers(t *testing.T) {
	// The handler holds the answers back until MaxRequests are there, then gives them in reverse order.
	var mu sync.Mutex
	var held []chan struct{}
	handle := func(ctx context.Context, request message.Message) message.Message {
		turn := make(chan struct{})
		mu.Lock()
		held = append(held, turn)
		if len(held) == MaxRequests {
			close(held[len(held)-1])
			held = held[:len(held)-1]
			mu.Unlock()
		} else {
			mu.Unlock()
			<-turn
		}
		mu.Lock()
		defer mu.Unlock()
		if n := len(held); n > 0 {
			close(held[n-1])
			held = held[:n-1]
		}
		return echo(ctx, request)
	}
	p := startPeripheral(t, handle, Options{})
	c := dial(t, p.path, Options{})
	errs := make(chan error, MaxRequests)
	for i := range MaxRequests {
		go func() { errs <- tryEcho(t.Context(), c, numbered(40+i)) }()
	}
	for range MaxRequests {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestManyExchangesAtOnce(t *testing.T) {
	var running, most atomic.Int32
	handle := func(ctx context.Context, request message.Message) message.Message {
		n := running.Add(1)
		defer running.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		time.Sleep(5 * time.Millisecond) // long enough that others arrive meanwhile
		return echo(ctx, request)
	}
	p := startPeripheral(t, handle, Options{})
	var centrals sync.WaitGroup
	for range 4 {
		c := dial(t, p.path, Options{MTU: 40})
		for i := range 40 { // more than MaxRequests: the rest waits its turn and is never refused
			centrals.Go(func() {
				if err := tryEcho(t.Context(), c, numbered(12*i)); err != nil {
					t.Error(err)
				}
			})
		}
	}
	centrals.Wait()
	if most.Load() > 4*MaxRequests {
		t.Errorf("%d requests at once on 4 links", most.Load())
	}
}

func TestExchangeRefusesBeforeSending(t *testing.T) {
	p := startPeripheral(t, echo, Options{})
	a := startAir(t, p.path, nil)
	c := dial(t, a.path, Options{})
	before := a.total()
	tests := []struct {
		name string
		in   message.Message
		want error
	}{
		{"too long for one value", post(make([]byte, 500)), ErrTooLong},
		{"a response", message.Message{Code: codes.Content}, errNotRequest},
		{"an empty message", message.Message{}, errNotRequest},
	}
	for _, test := range tests {
		if _, err := c.Exchange(t.Context(), test.in); !errors.Is(err, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, err, test.want)
		}
	}
	if a.total() != before {
		t.Error("something was sent")
	}
	mustEcho(t, c, nil)
}

func TestResponseThatDoesNotFit(t *testing.T) {
	p := startPeripheral(t, func(context.Context, message.Message) message.Message {
		return message.Message{Code: codes.Content, Payload: make([]byte, 600)}
	}, Options{})
	got, err := dial(t, p.path, Options{}).Exchange(t.Context(), post(nil))
	if err != nil || got.Code != codes.InternalServerError || len(got.Payload) != 0 {
		t.Errorf("got %v, %v, want a bare 5.00", got.Code, err)
	}
}

func TestExchangeEndsWithContext(t *testing.T) {
	silent := func(ctx context.Context, request message.Message) message.Message {
		if len(request.Payload) == 0 {
			return message.Message{} // no response
		}
		return echo(ctx, request)
	}
	p := startPeripheral(t, silent, Options{})
	c := dial(t, p.path, Options{})
	for range 3 * MaxRequests { // more than the slots: each is given back
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		if _, err := c.Exchange(ctx, post(nil)); err != context.DeadlineExceeded {
			t.Fatalf("got %v, want the context's error itself", err)
		}
		cancel()
	}
	if n := len(c.session.waiting); n != 0 {
		t.Errorf("%d tokens still waiting", n)
	}
	mustEcho(t, c, numbered(100))
}

func TestCloseEndsExchanges(t *testing.T) {
	handling := make(chan struct{})
	p := startPeripheral(t, func(ctx context.Context, _ message.Message) message.Message {
		close(handling)
		<-ctx.Done() // the handler hears of the link's end
		return message.Message{}
	}, Options{})
	c := dial(t, p.path, Options{})
	errs := make(chan error, 1)
	go func() {
		_, err := c.Exchange(t.Context(), post(nil))
		errs <- err
	}()
	<-handling
	c.Close()
	if err := <-errs; !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
	if err := p.wait(t); err != nil {
		t.Errorf("the peripheral saw %v, want nil", err)
	}
	if _, err := c.Exchange(t.Context(), post(nil)); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: got %v, want ErrClosed", err)
	}
}

// outcome is how one exchange of 60 bytes fared at both ends.
type outcome struct {
	central, device error
	answered        bool // the air passed on the whole response
	reached         bool // the PDU whose fate was asked for was sent at all
}

// exchangeThrough makes one exchange through air that spoils the PDU number at; opcodes in spared are never spoiled.
func exchangeThrough(t *testing.T, o Options, at int, spoil fate, spared ...byte) outcome {
	t.Helper()
	var answered, reached atomic.Bool
	p := startPeripheral(t, echo, o)
	a := startAir(t, p.path, func(n int, _ string, pdu []byte) fate {
		if n == at {
			reached.Store(true)
			if !slices.Contains(spared, pdu[0]) {
				return spoil
			}
		}
		if pdu[0] == opReadBlobResponse && len(pdu) < DefaultMTU {
			answered.Store(true)
		}
		return pass
	})
	c, err := Dial(t.Context(), a.path, o)
	if err == nil {
		err = tryEcho(t.Context(), c, numbered(60))
		c.Close()
	}
	return outcome{central: err, device: p.wait(t), answered: answered.Load(), reached: reached.Load()}
}

func TestUndisturbedExchange(t *testing.T) {
	got := exchangeThrough(t, Options{}, -1, pass)
	if want := (outcome{answered: true}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestCutAtEachPDU(t *testing.T) {
	for _, how := range []fate{cut, cutHalf} {
		for at := 0; ; at++ {
			got := exchangeThrough(t, Options{}, at, how)
			if !got.reached {
				break
			}
			if !errors.Is(got.central, ErrClosed) && !(got.answered && got.central == nil) {
				t.Errorf("cut (%d) at pdu %d: %+v, want ErrClosed", how, at, got)
			}
		}
	}
}

func TestEachPDUTwice(t *testing.T) {
	for at := 0; ; at++ {
		// A repeated part of a Read Blob cannot be told from the next part, because attribute PDUs carry no numbers;
		// the radio's link layer never repeats one, and OSCORE would not open the result.
		got := exchangeThrough(t, Options{}, at, twice, opReadBlobRequest, opReadBlobResponse)
		if !got.reached {
			break
		}
		if got.central != nil || got.device != nil {
			t.Errorf("pdu %d twice: %+v", at, got)
		}
	}
}

func TestEveryPDUTwice(t *testing.T) {
	p := startPeripheral(t, echo, Options{})
	a := startAir(t, p.path, func(_ int, _ string, pdu []byte) fate {
		if pdu[0] == opReadBlobRequest || pdu[0] == opReadBlobResponse {
			return pass
		}
		return twice
	})
	c := dial(t, a.path, Options{})
	for size := range 200 {
		mustEcho(t, c, numbered(size))
	}
}

func TestEachPDULost(t *testing.T) {
	const most = 40 // PDUs of one exchange, and more
	var wg sync.WaitGroup
	for at := range most {
		wg.Go(func() {
			got := exchangeThrough(t, Options{Timeout: 150 * time.Millisecond}, at, lose)
			if !got.reached {
				return
			}
			if !errors.Is(got.central, ErrClosed) && !(got.answered && got.central == nil) {
				t.Errorf("pdu %d lost: %+v, want ErrClosed", at, got)
			}
			if got.device != nil && !errors.Is(got.device, ErrTimeout) {
				t.Errorf("pdu %d lost: %+v, want the peripheral to see a timeout or the central's leaving", at, got)
			}
		})
	}
	wg.Wait()
}

func TestAbandonedRequestIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := badPeripheral(t, []byte{opConfirmation}, nil) // never acknowledges, so only the first message leaves
		defer c.Close()
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if _, err := c.Exchange(ctx, post(nil)); err != context.DeadlineExceeded {
				t.Fatal(err)
			}
			cancel()
		}
		if n := len(c.session.queue); n != 0 {
			t.Errorf("%d requests still wait to be sent", n)
		}
	})
}

func TestValueThatFitsIsWrittenAtOnce(t *testing.T) {
	var most atomic.Int32
	p := startPeripheral(t, echo, Options{})
	a := startAir(t, p.path, func(_ int, _ string, pdu []byte) fate {
		if pdu[0] == opPrepareRequest {
			t.Errorf("long write of %x", pdu)
		}
		if pdu[0] == opWriteRequest {
			most.Store(max(most.Load(), int32(len(pdu))))
		}
		return pass
	})
	c := dial(t, a.path, Options{})
	frame := 20 - (2 + tokenSize + 1) // header, code, token, marker
	if _, err := c.Exchange(t.Context(), message.Message{Code: codes.POST, Payload: numbered(frame)}); err != nil {
		t.Fatal(err)
	}
	if most.Load() != DefaultMTU {
		t.Errorf("longest write of %d bytes, want %d", most.Load(), DefaultMTU)
	}
}

func TestFloodIsBounded(t *testing.T) {
	near, _ := net.Pipe()
	release := make(chan struct{})
	s := newSession(newRadio(near, DefaultTimeout), nil, func(context.Context, message.Message) message.Message {
		<-release
		return message.Message{Code: codes.Content}
	}, nil)
	flood := func() {
		for i := range 1000 { // C=0: asks without waiting for acknowledgements
			if err := s.receive(t.Context(), []byte{0x02, byte(codes.GET), byte(i >> 8), byte(i)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	flood()
	if s.handling != MaxRequests || len(s.queue) != maxRefusals {
		t.Errorf("%d handled, %d messages queued, want %d and %d", s.handling, len(s.queue), MaxRequests, maxRefusals)
	}
	close(release)
	s.handlers.Wait()
	flood() // the answers have not left, so they still count
	s.handlers.Wait()
	if want := MaxRequests + maxRefusals; len(s.queue) != want {
		t.Errorf("%d messages queued, want %d", len(s.queue), want)
	}
}

func TestOverloadedLinkAnswers503(t *testing.T) {
	release := make(chan struct{})
	var handling sync.WaitGroup
	handling.Add(MaxRequests)
	p := startPeripheral(t, func(ctx context.Context, request message.Message) message.Message {
		handling.Done()
		<-release
		return echo(ctx, request)
	}, Options{})
	c := dial(t, p.path, Options{})
	c.slots = make(chan struct{}, 100) // a central that does not hold back
	errs := make(chan error, MaxRequests)
	for range MaxRequests {
		go func() { errs <- tryEcho(t.Context(), c, nil) }()
	}
	handling.Wait()
	got, err := c.Exchange(t.Context(), post(nil))
	if err != nil || got.Code != codes.ServiceUnavailable {
		t.Errorf("got %v, %v, want 5.03", got.Code, err)
	}
	close(release)
	for range MaxRequests {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}
