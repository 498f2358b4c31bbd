package jose

import (
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// ErrUnknownKey means that a token names a key that is not in the set. The set may be old: its owner can be asked again, at a
// pace that tokens cannot drive.
var ErrUnknownKey = errors.New("unknown key")

// Set is the public keys of one party by kid (RFC 7517 §5). It is immutable; the zero value has no keys.
type Set struct {
	keys []*Key
}

// NewSet takes 0 to MaxSetKeys public keys with different ids.
func NewSet(keys ...*Key) (*Set, error) {
	s := &Set{}
	for _, k := range keys {
		switch {
		case k == nil || k.public == nil:
			return nil, fmt.Errorf("key set: %w", ErrSecretInClear)
		case checkKeyID(k.id) != nil:
			return nil, fmt.Errorf("key set: %w", checkKeyID(k.id))
		}
		if err := s.add(k); err != nil {
			return nil, fmt.Errorf("key set: %w", err)
		}
	}
	return s, nil
}

func (s *Set) add(k *Key) error {
	if len(s.keys) == MaxSetKeys {
		return fmt.Errorf("more than %d keys", MaxSetKeys)
	}
	if k.id != "" && slices.ContainsFunc(s.keys, func(other *Key) bool { return other.id == k.id }) {
		return fmt.Errorf("two keys with kid %.64q", k.id)
	}
	s.keys = append(s.keys, k)
	return nil
}

// ParseSet reads the JWK Set of another party. Keys of other kinds and for other uses are left out (RFC 7517 §5); a private
// or symmetric key refuses the whole set, because whoever publishes one has lost it and perhaps more. Two keys with one kid
// are refused, and more than MaxSetKeys, used or not.
func ParseSet(data []byte) (*Set, error) {
	if len(data) > MaxSet {
		return nil, fmt.Errorf("key set of %d bytes, at most %d", len(data), MaxSet)
	}
	o, err := parseTo(data, maxForeignDepth)
	if err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	var list []json.RawMessage
	if raw, ok := o[setKeys]; !ok || json.Unmarshal(raw, &list) != nil || list == nil {
		return nil, fmt.Errorf("key set: %s is not a list", setKeys)
	}
	if len(list) > MaxSetKeys {
		return nil, fmt.Errorf("key set: %d keys, at most %d", len(list), MaxSetKeys)
	}
	s := &Set{}
	for i, jwk := range list {
		k, err := ParseKey(jwk)
		if errors.Is(err, errForeignKey) {
			continue
		}
		if err == nil {
			err = s.add(k)
		}
		if err != nil {
			return nil, fmt.Errorf("key set: entry %d: %w", i, err)
		}
	}
	return s, nil
}

// Keys are all keys, in their order.
func (s *Set) Keys() []*Key { return slices.Clone(s.keys) }

// Find is a Finder. A token that names no key is tried with the only one there is, if it is the only one.
func (s *Set) Find(kid string) (*Key, error) {
	if kid == "" && len(s.keys) == 1 {
		return s.keys[0], nil
	}
	for _, k := range s.keys {
		if kid != "" && k.id == kid {
			return k, nil
		}
	}
	return nil, ErrUnknownKey
}

// Encode writes the set for others, each key with kid, alg and use.
func (s *Set) Encode() (json.RawMessage, error) {
	list := make([]json.RawMessage, 0, len(s.keys))
	for _, k := range s.keys {
		members, err := k.required()
		if err != nil {
			return nil, fmt.Errorf("key set: %w", err)
		}
		first := []member{{keyID, textOrNone(k.id)}, {keyUse, "sig"}, {keyAlgorithm, k.alg.String()}}
		one, err := listedKey.encode(append(first, members...)...)
		if err != nil {
			return nil, fmt.Errorf("key set: %w", err)
		}
		list = append(list, one)
	}
	return keySet.encode(member{setKeys, list})
}

// PublicSet writes the JWK Set that others verify our tokens with: P-256 keys for ES256 by kid, in ascending order of kid.
func PublicSet(keys map[string]*ecdsa.PublicKey) ([]byte, error) {
	list := make([]*Key, 0, len(keys))
	for _, kid := range slices.Sorted(maps.Keys(keys)) {
		k, err := NewKey(keys[kid], kid)
		if err == nil && k.alg != ES256 {
			err = errCurve
		}
		if err != nil {
			return nil, fmt.Errorf("key set: key %.64q: %w", kid, err)
		}
		list = append(list, k)
	}
	s, err := NewSet(list...)
	if err != nil {
		return nil, err
	}
	return s.Encode()
}
