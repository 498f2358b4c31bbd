package coapsec

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// paper is a transport that can be observed: what is notified goes to the one client there is.
type paper struct {
	to       Handler
	tamper   func(n int, m message.Message) []message.Message // what the n-th message becomes; nil: itself
	requests []message.Message

	mu   sync.Mutex
	sent []message.Message // of the observation that goes on
	more chan struct{}
	done chan struct{}
}

func newPaper(h Handler) *paper { return &paper{to: h} }

func (p *paper) Exchange(ctx context.Context, m message.Message) (message.Message, error) {
	p.requests = append(p.requests, m)
	return p.to.ServeCoAP(ctx, &Request{Message: m, Peer: Peer{Address: phoneAddress}}), nil
}

func (p *paper) Observe(ctx context.Context, m message.Message, each func(message.Message) error) error {
	p.requests = append(p.requests, m)
	p.mu.Lock()
	p.sent, p.more, p.done = nil, make(chan struct{}, 100), make(chan struct{})
	p.mu.Unlock()
	first := p.to.ServeCoAP(ctx, &Request{Message: m, Peer: Peer{Address: phoneAddress}, Observation: p})
	goes := observes(first)
	if !goes {
		p.finish()
	}
	for n := 0; ; n++ {
		all := []message.Message{first}
		if p.tamper != nil {
			all = p.tamper(n, first)
		}
		for _, m := range all {
			if err := each(m); err != nil {
				p.finish()
				return err
			}
			if !observes(m) {
				p.finish()
				return nil
			}
		}
		select {
		case <-p.more:
		case <-ctx.Done():
			p.finish()
			return ctx.Err()
		}
		p.mu.Lock()
		first, p.sent = p.sent[0], p.sent[1:]
		p.mu.Unlock()
	}
}

func observes(m message.Message) bool {
	return m.Code < codes.BadRequest && m.Options.HasOption(message.Observe)
}

func (p *paper) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.done:
	default:
		close(p.done)
	}
}

func (p *paper) Notify(_ context.Context, m message.Message) error {
	select {
	case <-p.Done():
		return errors.New("over")
	default:
	}
	p.mu.Lock()
	p.sent = append(p.sent, m)
	p.mu.Unlock()
	if !observes(m) {
		p.finish()
	}
	p.more <- struct{}{}
	return nil
}

func (p *paper) Done() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}

// state is a resource that can be observed. It keeps the observation that began last.
type state struct {
	payload []byte
	calls   int
	seen    Observation
	peer    Peer
}

func (s *state) now() message.Message {
	return message.Message{Code: codes.Content, Options: message.Options{{ID: message.Observe}}, Payload: s.payload}
}

func (s *state) ServeCoAP(_ context.Context, r *Request) message.Message {
	s.calls++
	s.seen, s.peer = r.Observation, r.Peer
	return s.now()
}

// become changes the state and notifies of it.
func (s *state) become(payload []byte) error {
	s.payload = payload
	return s.seen.Notify(context.Background(), s.now())
}

var errEnough = errors.New("enough")

// watchState observes until it has seen count states, and returns them.
func watchState(t *testing.T, x Exchanger, count int, then func(n int)) (seen [][]byte, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err = x.(Observer).Observe(ctx, get("/door"), func(m message.Message) error {
		seen = append(seen, m.Payload)
		if then != nil {
			then(len(seen))
		}
		if len(seen) == count {
			return errEnough
		}
		return nil
	})
	return seen, err
}

func TestObserveUnderOSCORE(t *testing.T) {
	s := &state{payload: []byte("0")}
	security, phone := vault(t, s, SecurityOptions{})
	p := newPaper(security)
	ivs := map[string]bool{}
	p.tamper = func(n int, m message.Message) []message.Message {
		option, found, err := oscore.FindOption(m)
		if err != nil || !found || ivs[string(option.PartialIV)] || bytes.Contains(m.Payload, s.payload) && len(s.payload) > 3 {
			t.Errorf("notification %d: %+v, %v", n, option, err)
		}
		ivs[string(option.PartialIV)] = true
		return []message.Message{m}
	}
	seen, err := watchState(t, Secure(p, phone), 4, func(n int) {
		if n < 4 {
			if err := s.become(bytes.Repeat([]byte{'0' + byte(n)}, n)); err != nil {
				t.Error(err)
			}
		}
	})
	if want := [][]byte{[]byte("0"), []byte("1"), []byte("22"), []byte("333")}; !errors.Is(err, errEnough) || !slices.EqualFunc(seen, want, bytes.Equal) {
		t.Errorf("got %q, %v", seen, err)
	}
	if outer := p.requests[0]; outer.Code == codes.GET || !outer.Options.HasOption(message.Observe) {
		t.Errorf("outside: %+v", outer)
	}
	select {
	case <-s.seen.Done():
	default:
		t.Error("the observation goes on")
	}
}

func TestObserveInBlocksUnderOSCORE(t *testing.T) {
	s := &state{payload: body(3000)}
	security, phone := vault(t, Blockwise(s, BlockwiseOptions{BlockSize: 256}), SecurityOptions{})
	p := newPaper(security)
	seen, err := watchState(t, Blocks(Secure(p, phone), BlocksOptions{}), 3, func(n int) {
		if n < 3 {
			if err := s.become(append(body(2000), byte(n))); err != nil {
				t.Error(err)
			}
		}
	})
	want := [][]byte{body(3000), append(body(2000), 1), append(body(2000), 2)}
	if !errors.Is(err, errEnough) || !slices.EqualFunc(seen, want, bytes.Equal) || s.calls != 1 {
		t.Errorf("got %d states, %v, after %d calls", len(seen), err, s.calls)
	}
}

// TestStateThatChangesBeforeTheFirstAnswer: the handler notifies of a newer one before it has returned the older.
func TestStateThatChangesBeforeTheFirstAnswer(t *testing.T) {
	s := &state{payload: body(1000)}
	p := newPaper(Blockwise(HandlerFunc(func(ctx context.Context, r *Request) message.Message {
		old := s.ServeCoAP(ctx, r)
		if err := s.become(append(body(1000), 1)); err != nil {
			t.Error(err)
		}
		return old
	}), BlockwiseOptions{BlockSize: 256}))
	seen, err := watchState(t, Blocks(p, BlocksOptions{}), 1, nil)
	if !errors.Is(err, errEnough) || len(seen) != 1 || !bytes.Equal(seen[0], append(body(1000), 1)) {
		t.Errorf("got %d states, %v", len(seen), err)
	}
}

// TestStateThatChangesUnderTheReader: of a state that is gone before its later blocks were fetched nothing is told.
func TestStateThatChangesUnderTheReader(t *testing.T) {
	s := &state{payload: body(1000)}
	p := newPaper(Blockwise(s, BlockwiseOptions{BlockSize: 256}))
	p.tamper = func(n int, m message.Message) []message.Message {
		if n == 0 {
			if err := s.become(append(body(1000), 1)); err != nil {
				t.Error(err)
			}
		}
		return []message.Message{m}
	}
	seen, err := watchState(t, Blocks(p, BlocksOptions{}), 1, nil)
	if !errors.Is(err, errEnough) || len(seen) != 1 || !bytes.Equal(seen[0], append(body(1000), 1)) {
		t.Errorf("got %d states, %v", len(seen), err)
	}
}

func TestNotificationsOutOfOrderOrForgedAreDropped(t *testing.T) {
	s := &state{payload: []byte("a")}
	security, phone := vault(t, s, SecurityOptions{})
	p := newPaper(security)
	var b message.Message
	p.tamper = func(n int, m message.Message) []message.Message {
		forged := m
		forged.Payload = bytes.Clone(m.Payload)
		forged.Payload[0] ^= 1
		bare := message.Message{Code: codes.Content, Options: message.Options{{ID: message.Observe}}, Payload: []byte("z")}
		switch n {
		case 1:
			b = m
			return []message.Message{forged, bare}
		case 2:
			return []message.Message{m, b, m, forged, bare}
		}
		return []message.Message{m}
	}
	seen, err := watchState(t, Secure(p, phone), 3, func(n int) {
		switch n {
		case 1:
			_ = s.become([]byte("b"))
			_ = s.become([]byte("c"))
		case 2:
			_ = s.become([]byte("d"))
		}
	})
	if want := [][]byte{[]byte("a"), []byte("c"), []byte("d")}; !errors.Is(err, errEnough) || !slices.EqualFunc(seen, want, bytes.Equal) {
		t.Errorf("got %q, %v", seen, err)
	}
}

// TestObservationEndsWithItsContext: who lost his key hears nothing more.
func TestObservationEndsWithItsContext(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(byKID, *bool)
	}{
		{"the association is gone", func(c byKID, _ *bool) { delete(c, "\x01") }},
		{"another stands in its place", func(c byKID, _ *bool) { c["\x01"] = Static(context1(t, 2, 1, oscore.Options{})) }},
		{"its context was replaced", func(_ byKID, holds *bool) { *holds = false }},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &state{payload: []byte("a")}
			holds := true
			contexts := byKID{"\x01": renewable{Static(context1(t, 2, 1, oscore.Options{})), &holds}}
			p := newPaper(NewSecurity(contexts, HandlerFunc(plainOK), s, SecurityOptions{}))
			seen, err := watchState(t, Secure(p, context1(t, 1, 2, oscore.Options{})), 3, func(n int) {
				if n == 2 {
					test.end(contexts, &holds)
				}
				err := s.become([]byte("b"))
				if want := map[int]error{1: nil, 2: oscore.ErrNoContext}[n]; !errors.Is(err, want) {
					t.Errorf("notification %d: got %v, want %v", n, err, want)
				}
			})
			var hint *UnprotectedError
			if !errors.As(err, &hint) || hint.Code != codes.Unauthorized || len(seen) != 2 {
				t.Errorf("got %q, %v", seen, err)
			}
			select {
			case <-s.seen.Done():
			default:
				t.Error("the observation goes on")
			}
		})
	}
}

// renewable is an association whose context may be replaced.
type renewable struct {
	Association
	holds *bool
}

func (r renewable) Accept(ctx context.Context, outer message.Message, option oscore.Option) (Accepted, error) {
	a, err := r.Association.Accept(ctx, outer, option)
	a.Holds = func() bool { return *r.holds }
	return a, err
}

func TestObservationUnderAChannelEndsWhenItIsRenewed(t *testing.T) {
	root := oscore.Params{MasterSecret: secret, SenderID: []byte{1}, RecipientID: []byte{2}}
	device := root
	device.SenderID, device.RecipientID = root.RecipientID, root.SenderID
	here, there := NewChannel(root, ChannelOptions{}), NewChannel(device, ChannelOptions{Device: true})
	s := &state{payload: []byte("a")}
	security := NewSecurity(byKID{"\x01": there}, HandlerFunc(plainOK), s, SecurityOptions{})
	p := newPaper(security)
	if _, err := here.Exchange(t.Context(), p, get("/door")); err != nil {
		t.Fatal(err)
	}
	context, _ := here.present()
	seen, err := watchState(t, Secure(p, context), 3, func(n int) {
		if n == 2 {
			again := NewChannel(root, ChannelOptions{}) // the server has restarted
			observed := s.seen
			if _, err := again.Exchange(t.Context(), newPaper(security), get("/door")); err != nil {
				t.Error(err)
			}
			s.seen = observed
		}
		err := s.become([]byte("b"))
		if want := map[int]error{1: nil, 2: oscore.ErrNoContext}[n]; !errors.Is(err, want) {
			t.Errorf("notification %d: got %v, want %v", n, err, want)
		}
	})
	var hint *UnprotectedError
	if !errors.As(err, &hint) || len(seen) != 2 {
		t.Errorf("got %q, %v", seen, err)
	}
}

func TestServerEndsAnObservation(t *testing.T) {
	for name, last := range map[string]message.Message{
		"with an error":               {Code: codes.NotFound},
		"with an error that observes": {Code: codes.NotFound, Options: message.Options{{ID: message.Observe}}},
		"with an answer":              {Code: codes.Content, Payload: []byte("last")},
		"with what cannot be said":    {Code: codes.GET},
	} {
		s := &state{payload: []byte("a")}
		security, phone := vault(t, s, SecurityOptions{})
		seen, err := watchState(t, Secure(newPaper(security), phone), 3, func(n int) {
			if n == 1 {
				if err := s.seen.Notify(t.Context(), last); err != nil {
					t.Error(err)
				}
			}
		})
		if err != nil || len(seen) != 2 || !bytes.Equal(seen[1], last.Payload) {
			t.Errorf("%s: got %q, %v", name, seen, err)
		}
	}
}

// TestObservationBeginsInside: the option outside may come from anyone.
func TestObservationBeginsInside(t *testing.T) {
	s := &state{payload: []byte("a")}
	security, phone := vault(t, s, SecurityOptions{})
	for _, inner := range [][]byte{nil, {1}, {2}} {
		m := get("/door")
		if inner != nil {
			m.Options = m.Options.Set(message.Option{ID: message.Observe, Value: inner})
		}
		outer, x := protect(t, phone, m)
		outer.Options = withoutObserve(outer.Options).Add(message.Option{ID: message.Observe})
		answer := security.ServeCoAP(t.Context(), &Request{Message: outer, Observation: newPaper(nil)})
		response, err := phone.UnprotectResponse(x, answer)
		if err != nil || s.seen != nil || answer.Options.HasOption(message.Observe) || response.Options.HasOption(message.Observe) {
			t.Errorf("Observe %v inside: got %v outside %v, %v", inner, response.Options, answer.Options, err)
		}
	}
}

func TestObservationThatMustBeFresh(t *testing.T) {
	s := &state{payload: []byte("a")}
	security, phone := vault(t, HandlerFunc(func(ctx context.Context, r *Request) message.Message {
		if !r.Peer.Fresh {
			return r.Peer.Security.Challenge(r.Peer)
		}
		return s.ServeCoAP(ctx, r)
	}), SecurityOptions{})
	seen, err := watchState(t, Secure(newPaper(security), phone), 2, func(int) { _ = s.become([]byte("b")) })
	if !errors.Is(err, errEnough) || len(seen) != 2 || s.calls != 1 {
		t.Errorf("got %q, %v after %d calls", seen, err, s.calls)
	}
}

func TestObserveFromAnAddressToBeProven(t *testing.T) {
	s := &state{payload: body(150)}
	v := mustReach(t, nil)
	p := newPaper(HandlerFunc(func(ctx context.Context, r *Request) message.Message {
		if ok, challenge := v.Verify(r); !ok {
			return challenge
		}
		return s.ServeCoAP(ctx, r)
	}))
	seen, err := watchState(t, Reachable(p), 2, func(int) { _ = s.become([]byte("b")) })
	if !errors.Is(err, errEnough) || len(seen) != 2 || len(p.requests) != 2 {
		t.Errorf("got %d states, %v after %d requests", len(seen), err, len(p.requests))
	}
}

func TestObserverOnlyOverAnObserver(t *testing.T) {
	phone := context1(t, 1, 2, oscore.Options{})
	for name, wrap := range map[string]func(Exchanger) Exchanger{
		"Secure":    func(x Exchanger) Exchanger { return Secure(x, phone) },
		"Reachable": Reachable,
		"Blocks":    func(x Exchanger) Exchanger { return Blocks(x, BlocksOptions{}) },
	} {
		_, with := wrap(newPaper(nil)).(Observer)
		_, without := wrap(newDirect(nil)).(Observer)
		if !with || without {
			t.Errorf("%s: %v, %v", name, with, without)
		}
	}
}
