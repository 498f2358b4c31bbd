package authz

import (
	"context"
	"crypto/ecdsa"
	"fmt"
	"slices"
	"time"

	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/jose"
)

// KeyState is where a signing key is in its life.
type KeyState string

const (
	KeyWaits     KeyState = "waits"     // published, signs later
	KeySigns     KeyState = "signs"     // signs now
	KeyVerifies  KeyState = "verifies"  // published for what it has signed
	KeyOver      KeyState = "over"      // not published any more; signs for devices that know no newer one
	KeyWithdrawn KeyState = "withdrawn" // compromised: nothing under it counts
)

// KeyInfo is a signing key for people: nothing of it is secret.
type KeyInfo struct {
	ID        string
	State     KeyState
	Published time.Time
	From      time.Time // from here on it signs
	Until     time.Time // from here on its successor does; zero: not decided
	Withdrawn time.Time
	Devices   int // that know no newer key, so that it has to stay good for them
}

// loadKeys reads the keys, making the first ones.
func (s *Server) loadKeys(ctx context.Context, every time.Duration) error {
	if every == 0 {
		every = KeyEvery
	}
	s.keys = &keyring{store: s.store, every: max(every, MinKeyEvery)}
	state, err := s.keys.tend(ctx, s.now())
	if state == nil {
		return err
	}
	if err != nil { // it signs; that the next key could not be made can wait
		s.log.Warn("make the next signing key", "err", err)
	}
	return nil
}

// signingKeys is the present state of the keys. Whoever notices that none waits makes the next.
func (s *Server) signingKeys(ctx context.Context) *readKeys {
	now := s.now()
	state := s.keys.current(ctx, now)
	if state.waiting(now) != nil && state.signing(now) != nil || !s.keys.due(now) {
		return state
	}
	fresh, err := s.keys.tend(ctx, now)
	if err != nil {
		s.log.Warn("make the next signing key", "err", err)
	}
	if fresh == nil {
		return state
	}
	return fresh
}

// PublicKeys are the keys that verify this server's tokens, by id.
func (s *Server) PublicKeys() map[string]*ecdsa.PublicKey {
	public := map[string]*ecdsa.PublicKey{}
	set, err := s.KeySet(context.Background())
	if err != nil {
		s.log.Error("published keys", "err", err)
		return public
	}
	for _, k := range set.Keys() {
		if key, ok := k.Public().(*ecdsa.PublicKey); ok {
			public[k.ID()] = key
		}
	}
	return public
}

// KeySet is what verifiers are given now: the key that signs, the one that will, and those whose signatures may still count.
// They may keep it for KeySetLife.
func (s *Server) KeySet(ctx context.Context) (*jose.Set, error) {
	state := s.signingKeys(ctx)
	ring, err := state.ring(s.now())
	if err != nil {
		return nil, err
	}
	return ring.Set(s.now())
}

// COSEKeySet is the same as a COSE_KeySet (RFC 9052 §7).
func (s *Server) COSEKeySet(ctx context.Context) ([]byte, error) {
	set, err := s.KeySet(ctx)
	if err != nil {
		return nil, err
	}
	var keys cose.KeySet
	for _, k := range set.Keys() {
		key, err := cose.NewKey(k.Public(), cose.KeyOptions{ID: cose.KeyID(k.ID()), Algorithm: cose.ES256, Operations: []cose.KeyOperation{cose.OperationVerify}})
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", k.ID(), err)
		}
		keys = append(keys, key)
	}
	return keys.Encode()
}

// DeviceKeys are what a device is provisioned with, and its Device.SigningKeys: the key that signs and the one that will.
func (s *Server) DeviceKeys(ctx context.Context) (keys []*cose.Key, ids []string, err error) {
	state, now := s.signingKeys(ctx), s.now()
	for _, k := range []*heldKey{state.signing(now), state.waiting(now)} {
		if k == nil {
			continue
		}
		public, err := cose.PublicKey(&k.signer.PublicKey, cose.KeyID(k.ID))
		if err != nil {
			return nil, nil, fmt.Errorf("key %s: %w", k.ID, err)
		}
		keys, ids = append(keys, public), append(ids, k.ID)
	}
	if keys == nil {
		return nil, nil, jose.ErrNoSigner
	}
	return keys, ids, nil
}

// Keys lists all signing keys, newest first.
func (s *Server) Keys(ctx context.Context) ([]KeyInfo, error) {
	now := s.now()
	state, err := s.keys.reload(ctx, now)
	if err != nil {
		return nil, err
	}
	devices, err := s.store.Devices(ctx)
	if err != nil {
		return nil, fmt.Errorf("signing keys: %w", err)
	}
	newest := map[string]int{}
	for i := range devices {
		if k, err := state.signer(&devices[i], now); err == nil && devices[i].SigningKeys != nil && devices[i].Shape.Signed() {
			newest[k.ID]++
		}
	}
	var list []KeyInfo
	var end time.Time
	for _, k := range state.keys {
		info := KeyInfo{ID: k.ID, Published: k.CreatedAt, From: k.From, Withdrawn: k.Withdrawn, Devices: newest[k.ID]}
		if k.good() {
			info.Until, end = end, k.From
		}
		info.State = info.state(state, now)
		list = append(list, info)
	}
	return list, nil
}

func (k *KeyInfo) state(s *readKeys, now time.Time) KeyState {
	signs := s.signing(now)
	switch {
	case !k.Withdrawn.IsZero():
		return KeyWithdrawn
	case now.Before(k.From):
		return KeyWaits
	case signs != nil && signs.ID == k.ID:
		return KeySigns
	case now.Before(k.Until.Add(keyKeep)):
		return KeyVerifies
	}
	return KeyOver
}

// RotateKeys lets the key that waits sign as soon as every verifier can know it, and publishes the one after it. It returns the
// key and from when it signs. Devices that do not know it yet go on with an older one.
func (s *Server) RotateKeys(ctx context.Context) (KeyInfo, error) {
	now := s.now()
	state, err := s.keys.tend(ctx, now)
	if err != nil {
		return KeyInfo{}, err
	}
	next := state.waiting(now)
	if ring, err := state.ring(now); err != nil {
		return KeyInfo{}, err
	} else if len(ring.Slots()) >= maxPublished {
		return KeyInfo{}, fmt.Errorf("%d keys are published already, as many as verifiers are given: rotate again when the oldest has left the set", len(ring.Slots()))
	}
	from := next.CreatedAt.Add(KeyLead)
	if from.Before(now) {
		from = now
	}
	if from.Before(next.From) {
		changed := next.SigningKey
		changed.From = from
		if err := s.store.UpdateSigningKeys(ctx, changed); err != nil {
			return KeyInfo{}, fmt.Errorf("rotate: %w", err)
		}
		s.audit(ctx, AuditEntry{Event: "key.rotate", Result: "granted", Reason: "key " + next.ID})
	} else {
		from = next.From
	}
	if _, err := s.keys.tend(ctx, now); err != nil {
		return KeyInfo{}, err
	}
	info := KeyInfo{ID: next.ID, Published: next.CreatedAt, From: from, State: KeyWaits}
	if !from.After(now) {
		info.State = KeySigns
	}
	return info, nil
}

// Compromise is what became of keys that are no longer secret.
type Compromise struct {
	Withdrawn []string
	Signs     string   // the key that signs now
	Tokens    int      // that were ended
	Devices   []string // audiences of those that know a withdrawn key and take what it signs until they are given new keys
	Mute      []string // of these, the ones that know no good key: no tokens are made for them until then
}

// CompromiseKeys withdraws keys that are no longer secret, at once: they leave the published set, nothing under them is active,
// the key that waits signs in place of the one that did, or a new one, and every token they signed is ended (RFC 9770). It is
// idempotent. ErrNotFound for an id that is none.
func (s *Server) CompromiseKeys(ctx context.Context, ids ...string) (Compromise, error) {
	now := s.now()
	state, err := s.keys.reload(ctx, now)
	if err != nil {
		return Compromise{}, err
	}
	changed, err := state.withdraw(now, ids)
	if err != nil {
		return Compromise{}, err
	}
	if err := s.store.UpdateSigningKeys(ctx, changed...); err != nil {
		return Compromise{}, fmt.Errorf("withdraw keys: %w", err)
	}
	if state, err = s.keys.tend(ctx, now); err != nil {
		return Compromise{}, fmt.Errorf("the keys are withdrawn, but there is no new one: %w", err)
	}
	out := Compromise{Withdrawn: slices.Clone(ids), Signs: state.signing(now).ID}
	for _, id := range ids {
		entry := AuditEntry{At: now, Event: "key.compromise", Result: "granted", Reason: "key " + id}
		ended, err := s.store.End(ctx, EndSpec{SignedBy: id, Audit: entry}, now)
		if err != nil {
			return out, fmt.Errorf("the keys are withdrawn, but not all their tokens have ended: do it again: %w", err)
		}
		out.Tokens += len(ended)
	}
	return out, s.fillDevices(ctx, state, &out)
}

// withdraw is the change that takes keys away; if one of them signs, the key that waits takes over.
func (s *readKeys) withdraw(now time.Time, ids []string) (changed []SigningKey, err error) {
	rest := &readKeys{keys: slices.Clone(s.keys)}
	for _, id := range ids {
		i := slices.IndexFunc(rest.keys, func(k heldKey) bool { return k.ID == id })
		if i < 0 {
			return nil, fmt.Errorf("signing key %q: %w", id, ErrNotFound)
		}
		if rest.keys[i].good() {
			rest.keys[i].Withdrawn = now
		}
		changed = append(changed, rest.keys[i].SigningKey)
	}
	before, after := s.signing(now), rest.signing(now)
	if next := rest.waiting(now); next != nil && before != nil && (after == nil || after.ID != before.ID) {
		taking := next.SigningKey
		taking.From = now
		changed = append(changed, taking)
	}
	return changed, nil
}

func (s *Server) fillDevices(ctx context.Context, state *readKeys, out *Compromise) error {
	devices, err := s.store.Devices(ctx)
	if err != nil {
		return fmt.Errorf("devices that know the keys: %w", err)
	}
	for i := range devices {
		d := &devices[i]
		knows := func(id string) bool { return slices.Contains(d.SigningKeys, id) }
		if !d.Shape.Signed() || !slices.ContainsFunc(out.Withdrawn, knows) {
			continue
		}
		out.Devices = append(out.Devices, d.Audience())
		if _, err := state.signer(d, s.now()); err != nil {
			out.Mute = append(out.Mute, d.Audience())
		}
	}
	return nil
}
