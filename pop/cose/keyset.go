package cose

import (
	"bytes"

	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// KeySet is a COSE_KeySet: keys of every kind, in order. The zero value is the empty set, which cannot be encoded.
type KeySet []*Key

// ParseKeySet reads a COSE_KeySet of at most 64 keys. A key that ParseKey refuses is left out, the others stay (RFC 9052
// §7); so a set may come back empty.
func ParseKeySet(data []byte) (KeySet, error) {
	item, err := own(data)
	if err != nil {
		return nil, err
	}
	r := reader{data: item}
	n, ok := r.items(majorArray)
	if !ok || n == 0 || n > maxKeys {
		return nil, malformed("not an array of 1 to %d keys", maxKeys)
	}
	set := make(KeySet, 0, n)
	for range n {
		if key, err := ParseKey(r.raw()); err == nil {
			set = append(set, key)
		}
	}
	return set, nil
}

// Encode gives the deterministic encoding of every key, in order, without private parts. Symmetric keys are in it whole.
func (s KeySet) Encode() ([]byte, error) {
	if len(s) == 0 || len(s) > maxKeys {
		return nil, unfit("%d keys, want 1 to %d", len(s), maxKeys)
	}
	list := make([]wire.RawMessage, len(s))
	for i, key := range s {
		encoded, err := key.Encode()
		if err != nil {
			return nil, err
		}
		list[i] = encoded
	}
	return wire.Marshal(list)
}

// Find is a FindKey: the one key with that id, or of all keys if kid is nil, that says alg or nothing. None and several are
// ErrKey: a key is never guessed.
func (s KeySet) Find(alg Algorithm, kid KeyID) (*Key, error) {
	var found *Key
	for _, key := range s {
		if kid != nil && !bytes.Equal(key.id, kid) || key.alg != 0 && key.alg != alg {
			continue
		}
		if found != nil {
			return nil, unfit("several keys for %v", alg)
		}
		found = key
	}
	if found == nil {
		return nil, unfit("no key for %v", alg)
	}
	return found, nil
}
