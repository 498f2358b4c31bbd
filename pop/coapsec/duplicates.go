package coapsec

import (
	"container/list"
	"net/netip"
	"time"
)

// messageKey names a message for EXCHANGE_LIFETIME (RFC 7252 §4.4).
type messageKey struct {
	peer netip.AddrPort
	id   uint16
}

// received is a message that was acted upon.
type received struct {
	key     messageKey
	size    int    // of the datagram: only one of the same size can be a retransmission
	answer  []byte // what a retransmission is answered with, byte for byte; nil: nothing
	running bool
	// acked: an empty Acknowledgement went out, the response follows in a message of its own. answering: the response
	// is chosen, no empty Acknowledgement may go out any more.
	acked, answering bool
	expires          time.Time
	byAge            *list.Element // both nil while running
	ofPeer           *list.Element
}

// history is what is known of one peer that has at least one entry.
type history struct {
	running int
	kept    list.List // of *received, oldest first
}

// duplicates remembers the messages received (RFC 7252 §4.2), so that none is acted upon twice. Every operation costs
// the same however much is remembered. Entries at work are never forgotten; there are at most maxRunning of them.
// The caller serialises.
type duplicates struct {
	entries map[messageKey]*received
	peers   map[netip.AddrPort]*history
	order   list.List // of *received not running, oldest first
	running int
	bytes   int // of stored answers
}

func newDuplicates() *duplicates {
	return &duplicates{entries: map[messageKey]*received{}, peers: map[netip.AddrPort]*history{}}
}

// find returns what is remembered under key, nil for nothing.
func (d *duplicates) find(key messageKey, now time.Time) *received {
	for range maxForgottenAtOnce {
		oldest := d.order.Front()
		if oldest == nil || now.Before(oldest.Value.(*received).expires) {
			break
		}
		d.forget(oldest.Value.(*received))
	}
	r := d.entries[key]
	if r != nil && !r.running && !now.Before(r.expires) {
		d.forget(r)
		return nil
	}
	return r
}

// begin makes an entry for a request about to run. It returns nil when too many run already; key must be unknown.
func (d *duplicates) begin(key messageKey, size int) *received {
	peer := d.peers[key.peer]
	if d.running >= maxRunning || peer != nil && peer.running >= maxRunningPerPeer {
		return nil
	}
	if peer == nil {
		peer = &history{}
		d.peers[key.peer] = peer
	}
	peer.running++
	d.running++
	r := &received{key: key, size: size, running: true}
	d.entries[key] = r
	return r
}

// end stores the answer to a request that ran.
func (d *duplicates) end(r *received, answer []byte, now time.Time) {
	d.running--
	d.peers[r.key.peer].running--
	r.running = false
	d.keep(r, answer, now)
}

// note stores the answer to a message that needed no run; key must be unknown.
func (d *duplicates) note(key messageKey, size int, answer []byte, now time.Time) {
	r := &received{key: key, size: size}
	d.entries[key] = r
	if d.peers[key.peer] == nil {
		d.peers[key.peer] = &history{}
	}
	d.keep(r, answer, now)
}

func (d *duplicates) keep(r *received, answer []byte, now time.Time) {
	r.answer = answer
	r.expires = now.Add(exchangeLifetime)
	d.bytes += len(answer)
	peer := d.peers[r.key.peer]
	r.byAge = d.order.PushBack(r)
	r.ofPeer = peer.kept.PushBack(r)
	if peer.kept.Len() > maxRememberedPerPeer {
		d.forget(peer.kept.Front().Value.(*received))
	}
	for d.order.Len() > maxRemembered || d.bytes > maxRememberedBytes {
		d.forget(d.order.Front().Value.(*received))
	}
}

func (d *duplicates) forget(r *received) {
	d.order.Remove(r.byAge)
	d.bytes -= len(r.answer)
	delete(d.entries, r.key)
	peer := d.peers[r.key.peer]
	peer.kept.Remove(r.ofPeer)
	if peer.kept.Len() == 0 && peer.running == 0 {
		delete(d.peers, r.key.peer)
	}
}
