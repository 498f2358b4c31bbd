package clientauth

import (
	"crypto/sha256"
	"encoding/binary"
	"testing"
)

// TestSeenIsBounded: however many phones come, no more than maxSeen are remembered, the newest half of them surely.
func TestSeenIsBounded(t *testing.T) {
	var s seen
	nth := func(i int) [sha256.Size]byte { return sha256.Sum256(binary.BigEndian.AppendUint32(nil, uint32(i))) }
	for i := range 3*maxSeen + 7 {
		s.keep(nth(i), sighting{})
		if n := len(s.young) + len(s.old); n > maxSeen {
			t.Fatalf("%d are remembered after %d", n, i)
		}
		if i < maxSeen/2 {
			continue
		}
		_, young := s.young[nth(i-maxSeen/2+1)]
		if _, old := s.old[nth(i-maxSeen/2+1)]; !young && !old {
			t.Fatalf("one of the newest is forgotten after %d", i)
		}
	}
}
