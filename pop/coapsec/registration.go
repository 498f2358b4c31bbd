package coapsec

import (
	"container/list"
	"context"
	"errors"
	"net/netip"
	"slices"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// ErrNotObserved is for a notification to a client that does not observe, or no more.
var ErrNotObserved = errors.New("not observed")

// registrationKey names an observation (RFC 7641 §4.1).
type registrationKey struct {
	peer  netip.AddrPort
	token string
}

// registration is a client's entry in the list of observers, and the Observation that the handler sees.
//
// Every notification is confirmable. What is observed here are bolts, alarms and revocations: seldom news, each worth an
// acknowledgement, and whoever does not acknowledge one is observing no more. As there is at most one under way, a slow
// network slows them down by itself (RFC 7641 §4.5.1); meanwhile only the newest is kept.
type registration struct {
	endpoint  *Endpoint
	key       registrationKey
	code      codes.Code
	protected bool
	done      chan struct{} // closed when over

	// Guarded by Endpoint.mu.
	sequence uint32
	opened   bool             // the first answer has been sent
	over     bool             // Notify has nothing more to do
	dropped  bool             // nothing more is sent
	reached  bool             // the client has shown to be at its address
	budget   int              // bytes that an address which is not reached may still be sent
	next     *message.Message // what to tell next
	sending  bool
	stop     context.CancelFunc // of the sending
	stranger *list.Element
}

// registrations is the list of observers.
type registrations struct {
	all       map[registrationKey]*registration
	peers     map[netip.AddrPort][]*registration // the oldest first
	strangers *list.List                         // of those not reached, the oldest first
}

func newRegistrations() registrations {
	return registrations{all: map[registrationKey]*registration{}, peers: map[netip.AddrPort][]*registration{}, strangers: list.New()}
}

// offer lets the handler accept an observation.
func (e *Endpoint) offer(j *job) {
	if j.Code != codes.GET && j.Code != fetch {
		return
	}
	if value, asked := observeOf(j.Options); !asked || value != register {
		return
	}
	j.asks = &registration{
		endpoint: e, key: registrationKey{j.peer(), string(j.Token)}, code: j.Code, done: make(chan struct{}),
		budget: maxAmplification*j.size - headerLength, // an acknowledgement may go before the answer
	}
	j.request.Observation = j.asks
}

// fetch is not among go-coap's codes (RFC 8132).
const fetch codes.Code = 5

// enroll puts the client on the list of observers if the handler's answer says so, takes it off the list if it asks for
// that, and sees to the Observe of the answer.
func (e *Endpoint) enroll(j *job, response message.Message) message.Message {
	value, asked := observeOf(j.Options)
	accepted := response.Options.HasOption(message.Observe)
	if !accepted && (!asked || value > deregister) {
		return response
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	admitted := false
	if asked && value <= deregister {
		accepted := observing(response) && !e.isClosed()
		admitted = e.observed.replace(registrationKey{j.peer(), string(j.Token)}, j.asks, accepted, isProtected(response))
	}
	switch {
	case admitted:
		response.Options = withObserve(response.Options, j.asks.sequence)
	case accepted:
		response.Options = without(response.Options, message.Observe)
	}
	return response
}

// observing says whether a response is one of an observation that goes on.
func observing(m message.Message) bool {
	return isSuccess(m.Code) && m.Options.HasOption(message.Observe)
}

// replace ends the observation under key and, if it is accepted, begins the one in g, which may be nil. One that OSCORE
// protects gives way to an answer under OSCORE only: a token and an address can be copied.
func (l *registrations) replace(key registrationKey, g *registration, accepted, protected bool) (admitted bool) {
	old := l.all[key]
	if old != nil && old.protected && !protected {
		return false
	}
	if old != nil {
		l.drop(old)
	}
	if g == nil || g.over || !accepted {
		return false
	}
	g.protected = protected
	if old != nil {
		g.sequence = old.sequence
	}
	if !l.makeRoom(g) {
		return false
	}
	g.advance()
	l.all[key] = g
	l.peers[key.peer] = append(l.peers[key.peer], g)
	g.stranger = l.strangers.PushBack(g)
	return true
}

// advance counts one more notification (RFC 7641 §4.4).
func (g *registration) advance() { g.sequence = (g.sequence + 1) & (1<<observeBits - 1) }

// makeRoom drops what has to give way: of the same peer the oldest that is not better protected, and of all the one that
// has been a stranger for longest.
func (l *registrations) makeRoom(g *registration) bool {
	if own := l.peers[g.key.peer]; len(own) >= maxObservationsPerPeer {
		i := slices.IndexFunc(own, func(o *registration) bool { return g.protected || !o.protected })
		if i < 0 {
			return false
		}
		l.drop(own[i])
	}
	if len(l.all) < maxObservations {
		return true
	}
	oldest := l.strangers.Front()
	if oldest == nil {
		return false
	}
	l.drop(oldest.Value.(*registration))
	return true
}

// drop ends an observation at once; it may have ended before.
func (l *registrations) drop(g *registration) {
	g.end()
	g.dropped, g.next = true, nil
	if g.stop != nil {
		g.stop()
	}
	if l.all[g.key] != g {
		return
	}
	delete(l.all, g.key)
	own := slices.DeleteFunc(l.peers[g.key.peer], func(o *registration) bool { return o == g })
	if l.peers[g.key.peer] = own; len(own) == 0 {
		delete(l.peers, g.key.peer)
	}
	l.meet(g)
}

// meet takes note that g's client is where it says.
func (l *registrations) meet(g *registration) {
	g.reached = true
	if g.stranger != nil {
		l.strangers.Remove(g.stranger)
		g.stranger = nil
	}
}

// Forget ends the observations of a peer of whom the transport knows that it is gone, as when its association of DTLS has
// ended. Else they end when it acknowledges no notification.
func (e *Endpoint) Forget(peer netip.AddrPort) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, g := range slices.Clone(e.observed.peers[canonical(peer)]) {
		e.observed.drop(g)
	}
}

// dropAll ends what is observed.
func (e *Endpoint) dropAll() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, g := range e.observed.all {
		e.observed.drop(g)
	}
}
