package clientauth

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/latchkey-ace/latchkey/pop/attestation"
	"github.com/latchkey-ace/latchkey/pop/jose"
)

// seen are attestations whose signature was found good: an instance shows the same one until it ends. What else there is to judge is
// judged each time, also whether its key still counts. The zero value is ready to use.
type seen struct {
	mu  sync.Mutex
	all map[[sha256.Size]byte]sighting
}

// sighting is one of them.
type sighting struct {
	said *attestation.Attestation
	kid  string
	key  *jose.Key // that it was signed with
}

// verify is attestation.Verify, but for a signature that was verified before under a key that the finder still gives.
func (s *seen) verify(token string, e attestation.Expect) (*attestation.Attestation, error) {
	sum := sha256.Sum256([]byte(token))
	s.mu.Lock()
	known, again := s.all[sum]
	s.mu.Unlock()
	if again && e.Now.Before(known.said.Expires) && !e.Now.Before(known.said.IssuedAt.Add(-attestation.Ahead)) {
		if key, err := e.Keys(known.kid); err == nil && key.Equal(known.key) {
			return known.said, nil
		}
	}
	var found sighting
	find := e.Keys
	e.Keys = func(kid string) (*jose.Key, error) {
		key, err := find(kid)
		found.kid, found.key = kid, key
		return key, err
	}
	said, err := attestation.Verify(token, e)
	if err == nil {
		found.said = said
		s.keep(sum, found, e.Now)
	}
	return said, err
}

// keep forgets what has ended when there is no room, and else any one.
func (s *seen) keep(sum [sha256.Size]byte, found sighting, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = make(map[[sha256.Size]byte]sighting)
	}
	if len(s.all) >= maxSeen {
		for at, one := range s.all {
			if !now.Before(one.said.Expires) {
				delete(s.all, at)
			}
		}
	}
	for at := range s.all {
		if len(s.all) < maxSeen {
			break
		}
		delete(s.all, at)
	}
	s.all[sum] = found
}
