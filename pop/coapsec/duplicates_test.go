package coapsec

import (
	"net/netip"
	"testing"
	"time"
)

func peerNumber(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 5683)
}

var epoch = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)

// checkConsistent compares the counts with what is really there.
func checkConsistent(t *testing.T, d *duplicates) {
	t.Helper()
	bytes, running, kept := 0, 0, 0
	for _, r := range d.entries {
		bytes += len(r.answer)
		if r.running {
			running++
		}
	}
	for _, p := range d.peers {
		if p.kept.n == 0 && p.running == 0 {
			t.Error("a peer without entries is remembered")
		}
		kept += p.kept.n
	}
	if bytes != d.bytes || running != d.running || kept != d.order.n || kept+running != len(d.entries) {
		t.Errorf("got %d bytes, %d running, %d kept by peers, %d by age; counted %d, %d, %d", d.bytes, d.running, kept, d.order.n, bytes, running, len(d.entries))
	}
}

func TestMemoryIsBoundedPerPeer(t *testing.T) {
	d := newDuplicates()
	d.note(messageKey{peerNumber(1), 1}, datagram{size: 10}, []byte("other"), epoch)
	for id := range uint16(3 * maxRememberedPerPeer) {
		d.end(d.begin(messageKey{peerNumber(0), id}, datagram{size: 10}), []byte("answer"), epoch)
	}
	if got := d.peers[peerNumber(0)].kept.n; got != maxRememberedPerPeer {
		t.Errorf("got %d entries, want %d", got, maxRememberedPerPeer)
	}
	if d.find(messageKey{peerNumber(0), 3*maxRememberedPerPeer - 1}, epoch) == nil {
		t.Error("the newest entry is gone")
	}
	if d.find(messageKey{peerNumber(1), 1}, epoch) == nil {
		t.Error("another peer's entry is gone")
	}
	checkConsistent(t, d)
}

func TestMemoryIsBoundedInAll(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer []byte
		want   int
	}{
		{"by count", make([]byte, 100), maxRemembered},
		{"by bytes", make([]byte, maxDatagram), maxRememberedBytes / maxDatagram},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDuplicates()
			for n := range maxRemembered + 1000 {
				d.end(d.begin(messageKey{peerNumber(n), 1}, datagram{size: 10}), test.answer, epoch)
			}
			if got := len(d.entries); got != test.want || len(d.peers) != test.want {
				t.Errorf("got %d entries of %d peers, want %d", got, len(d.peers), test.want)
			}
			checkConsistent(t, d)
		})
	}
}

func TestEntriesExpireAfterExchangeLifetime(t *testing.T) {
	d := newDuplicates()
	for n := range 100 {
		d.note(messageKey{peerNumber(n), 1}, datagram{size: 10}, []byte("x"), epoch)
	}
	if d.find(messageKey{peerNumber(50), 1}, epoch.Add(exchangeLifetime-time.Nanosecond)) == nil {
		t.Error("forgotten too early")
	}
	late := epoch.Add(exchangeLifetime)
	if d.find(messageKey{peerNumber(50), 1}, late) != nil {
		t.Error("remembered too long")
	}
	if got := len(d.entries); got != 100-1-maxForgottenAtOnce {
		t.Errorf("one look-up left %d entries, want the work of one bounded: %d", got, 100-1-maxForgottenAtOnce)
	}
	for range 100 {
		d.find(messageKey{peerNumber(999), 1}, late)
	}
	if len(d.entries) != 0 || len(d.peers) != 0 {
		t.Errorf("got %d entries of %d peers, want none", len(d.entries), len(d.peers))
	}
}

func TestRunningEntriesAreNeitherForgottenNorUnbounded(t *testing.T) {
	d := newDuplicates()
	key := messageKey{peerNumber(0), 1}
	slow := d.begin(key, datagram{size: 10})
	for id := range uint16(2 * maxRememberedPerPeer) {
		d.end(d.begin(messageKey{peerNumber(0), 100 + id}, datagram{size: 10}), nil, epoch)
	}
	if d.find(key, epoch.Add(2*exchangeLifetime)) != slow {
		t.Error("a running request was forgotten")
	}
	for id := range uint16(maxRunningPerPeer - 1) {
		if d.begin(messageKey{peerNumber(0), 1000 + id}, datagram{size: 10}) == nil {
			t.Fatalf("request %d refused", id)
		}
	}
	if d.begin(messageKey{peerNumber(0), 2000}, datagram{size: 10}) != nil {
		t.Error("one peer may run more than its part")
	}
	n := 1
	for d.begin(messageKey{peerNumber(n), 1}, datagram{size: 10}) != nil {
		n++
	}
	if d.running != maxRunning {
		t.Errorf("got %d running, want %d", d.running, maxRunning)
	}
	if d.peers[peerNumber(n)] != nil {
		t.Error("a refused peer is remembered")
	}
	checkConsistent(t, d)
}
