package clientauth

import (
	"crypto/sha256"
	"sync"

	"github.com/latchkey-ace/latchkey/pop/attestation"
	"github.com/latchkey-ace/latchkey/pop/jose"
)

// seen are attestations whose signature was found good: an instance shows the same one until it ends. What else there is to judge is
// judged each time, also whether its key still counts. The zero value is ready to use.
type seen struct {
	mu         sync.Mutex
	young, old map[[sha256.Size]byte]sighting // what was met since young was last full, and before that
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
	known, again := s.young[sum]
	if !again {
		known, again = s.old[sum]
	}
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
		s.keep(sum, found)
	}
	return said, err
}

// keep forgets the old ones where there is no room.
func (s *seen) keep(sum [sha256.Size]byte, found sighting) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.young == nil || len(s.young) >= maxSeen/2 {
		s.old, s.young = s.young, make(map[[sha256.Size]byte]sighting)
	}
	s.young[sum] = found
}
