package coapsec

import (
	"net/netip"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
)

// messageKey names a message for EXCHANGE_LIFETIME (RFC 7252 §4.4).
type messageKey struct {
	peer netip.AddrPort
	id   uint16
}

// received is a message that was acted upon.
type received struct {
	key  messageKey
	from *history
	datagram
	answer   []byte // what a retransmission is answered with, byte for byte; nil: nothing
	repeated int    // how often a large answer was
	running  bool
	acked    bool      // an empty Acknowledgement went out, the response follows in a message of its own
	at       time.Time // when it began to run, and after that, when it is forgotten
	links    [chains]place
}

// history is what is known of one peer that has at least one entry.
type history struct {
	peer    netip.AddrPort
	address string // peer in words, made once
	running int
	kept    chain
}

// duplicates remembers the messages received (RFC 7252 §4.2), so that none is acted upon twice. Every operation costs
// the same however much is remembered. Entries at work are never forgotten; there are at most maxRunning of them.
// The caller serialises.
type duplicates struct {
	entries map[messageKey]*received
	peers   map[netip.AddrPort]*history
	order   chain // not running, oldest first
	waiting chain // running, confirmable, and not answered in any way; the longest waiting first
	running int
	bytes   int // of stored answers

	// What is forgotten is used again: a server under load makes no garbage here.
	spare      *received // linked by age
	spareCount int
	sparePeers []*history
}

func newDuplicates() *duplicates {
	return &duplicates{
		entries: map[messageKey]*received{}, peers: map[netip.AddrPort]*history{},
		order: chain{by: byAge}, waiting: chain{by: byAge},
	}
}

// find returns what is remembered under key, nil for nothing.
func (d *duplicates) find(key messageKey, now time.Time) *received {
	for range maxForgottenAtOnce {
		oldest := d.order.first
		if oldest == nil || now.Before(oldest.at) {
			break
		}
		d.forget(oldest)
	}
	r := d.entries[key]
	if r != nil && !r.running && !now.Before(r.at) {
		d.forget(r)
		return nil
	}
	return r
}

// seen says whether in was received before, and how it is then answered. A retransmission is the same datagram: another one
// that has its Message-ID comes from a peer that has begun anew, or has got the address of another, and is no duplicate. While
// the first is at work it is taken for lost, for it will come again.
func (d *duplicates) seen(key messageKey, in incoming, now time.Time) (reply []byte, seen bool) {
	known := d.find(key, now)
	switch {
	case known == nil:
		return nil, false
	case known.datagram == in.datagram:
		return known.replyTo(in), true
	case known.running:
		return nil, true
	}
	d.forget(known)
	return nil, false
}

// replyTo answers a retransmission of a message already received. Anyone can repeat a datagram that he has seen, in the name of
// its sender, so a large answer is not given more often than RFC 7252 §4.2 has a peer ask for it.
func (r *received) replyTo(in incoming) []byte {
	if in.Type != message.Confirmable {
		return nil
	}
	if len(r.answer) > maxAmplification*r.size {
		if r.repeated == maxTransmissions-1 {
			return nil
		}
		r.repeated++
	}
	return r.answer
}

// begin makes an entry for a request about to run. It returns nil when too many run already; key must be unknown.
func (d *duplicates) begin(key messageKey, data datagram) *received {
	peer := d.peers[key.peer]
	if d.running >= maxRunning || peer != nil && peer.running >= maxRunningPerPeer {
		return nil
	}
	r := d.enter(key, data, peer)
	r.from.running++
	d.running++
	r.running = true
	return r
}

// wait says that the peer of r, which is running, expects to hear something before long.
func (d *duplicates) wait(r *received, now time.Time) {
	r.at = now
	d.waiting.push(r)
}

// choose says that the answer to r is chosen: acknowledge comes too late from then on.
func (d *duplicates) choose(r *received) { d.waiting.remove(r) }

// acknowledge takes note that r, which is waiting, is answered with an empty Acknowledgement and later separately.
func (d *duplicates) acknowledge(r *received) {
	d.waiting.remove(r)
	r.acked = true
	r.answer = encodeEmpty(message.Acknowledgement, r.key.id)
}

// end stores the answer to a request that ran. r is not the caller's any more.
func (d *duplicates) end(r *received, answer []byte, now time.Time) {
	d.waiting.remove(r)
	d.running--
	r.from.running--
	r.running = false
	d.keep(r, answer, now)
}

// note stores the answer to a message that needed no run; key must be unknown.
func (d *duplicates) note(key messageKey, data datagram, answer []byte, now time.Time) {
	d.keep(d.enter(key, data, d.peers[key.peer]), answer, now)
}

// enter makes an entry of a peer, which is nil for one without entries.
func (d *duplicates) enter(key messageKey, data datagram, peer *history) *received {
	if peer == nil {
		peer = d.newPeer(key.peer)
	}
	r := d.spare
	if r == nil {
		r = new(received)
	} else {
		d.spare = r.links[byAge].newer
		d.spareCount--
	}
	*r = received{key: key, datagram: data, from: peer}
	d.entries[key] = r
	return r
}

func (d *duplicates) newPeer(peer netip.AddrPort) *history {
	var h *history
	if n := len(d.sparePeers); n > 0 {
		h, d.sparePeers = d.sparePeers[n-1], d.sparePeers[:n-1]
	} else {
		h = new(history)
	}
	*h = history{peer: peer, kept: chain{by: ofPeer}}
	d.peers[peer] = h
	return h
}

func (d *duplicates) keep(r *received, answer []byte, now time.Time) {
	r.answer = answer
	r.at = now.Add(exchangeLifetime)
	d.bytes += len(answer)
	peer := r.from
	d.order.push(r)
	peer.kept.push(r)
	if peer.kept.n > maxRememberedPerPeer {
		d.forget(peer.kept.first)
	}
	for d.order.n > maxRemembered || d.bytes > maxRememberedBytes {
		d.forget(d.order.first)
	}
}

func (d *duplicates) forget(r *received) {
	d.order.remove(r)
	r.from.kept.remove(r)
	d.bytes -= len(r.answer)
	delete(d.entries, r.key)
	if h := r.from; h.kept.n == 0 && h.running == 0 {
		delete(d.peers, h.peer)
		if len(d.sparePeers) < maxSpare {
			d.sparePeers = append(d.sparePeers, h)
		}
	}
	if d.spareCount < maxSpare {
		*r = received{links: [chains]place{byAge: {newer: d.spare}}}
		d.spare = r
		d.spareCount++
	}
}

// words is the peer's address as text.
func (h *history) words() string {
	if h.address == "" {
		h.address = h.peer.String()
	}
	return h.address
}

// The kinds of chain an entry can be in: by age, of those kept or of those waiting, and its peer's.
const (
	byAge = iota
	ofPeer
	chains
)

// place is an entry's place in a chain.
type place struct{ older, newer *received }

// chain is a list of entries that needs no memory of its own. An entry is in at most one chain of a kind.
type chain struct {
	by          int
	first, last *received
	n           int
}

func (c *chain) push(r *received) {
	r.links[c.by] = place{older: c.last}
	if c.last == nil {
		c.first = r
	} else {
		c.last.links[c.by].newer = r
	}
	c.last = r
	c.n++
}

// remove does nothing if r is in no chain of the kind.
func (c *chain) remove(r *received) {
	l := r.links[c.by]
	if l.older == nil && c.first != r {
		return
	}
	if l.older == nil {
		c.first = l.newer
	} else {
		l.older.links[c.by].newer = l.newer
	}
	if l.newer == nil {
		c.last = l.older
	} else {
		l.newer.links[c.by].older = l.older
	}
	r.links[c.by] = place{}
	c.n--
}
