package authz

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/latchkey-ace/latchkey/pop/jose"
)

// keyring is the server's signing keys as this process last read them. There is always one that waits: it is published long
// before it signs, so that whoever keeps our set, or was provisioned with it, knows it by then (docs/adr/0048).
type keyring struct {
	store SigningKeys
	every time.Duration // from one key to the next

	reading sync.Mutex
	state   atomic.Pointer[readKeys]
	tended  atomic.Int64 // when a key was last looked for that waits, unix nanoseconds
}

// readKeys is one state of the keyring. It does not change.
type readKeys struct {
	at   time.Time
	keys []heldKey // newest first, withdrawn ones too
}

// heldKey is a signing key ready for use.
type heldKey struct {
	SigningKey
	number int64
	signer *ecdsa.PrivateKey
}

func (k *heldKey) good() bool { return k.Withdrawn.IsZero() }

// current gives the state as of now or a few seconds before; a store that does not answer does not stop those who only verify.
func (r *keyring) current(ctx context.Context, now time.Time) *readKeys {
	known := r.state.Load()
	if age := now.Sub(known.at); age >= 0 && age < KeyReload {
		return known
	}
	if !r.reading.TryLock() {
		return known // somebody is at it
	}
	defer r.reading.Unlock()
	if fresh, err := r.read(ctx, now); err == nil {
		return fresh
	}
	return known
}

// reload reads the store now.
func (r *keyring) reload(ctx context.Context, now time.Time) (*readKeys, error) {
	r.reading.Lock()
	defer r.reading.Unlock()
	return r.read(ctx, now)
}

func (r *keyring) read(ctx context.Context, now time.Time) (*readKeys, error) {
	stored, err := r.store.SigningKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("signing keys: %w", err)
	}
	fresh := &readKeys{at: now}
	known := r.state.Load()
	for _, k := range stored {
		held, err := known.hold(k)
		if err != nil {
			return nil, err
		}
		fresh.keys = append(fresh.keys, held)
	}
	slices.SortStableFunc(fresh.keys, func(a, b heldKey) int { return cmp.Compare(b.number, a.number) })
	if _, err := fresh.ring(now); err != nil {
		return nil, err
	}
	r.state.Store(fresh)
	return fresh, nil
}

// hold parses a key, unless the state before has it parsed. Keys are numbered; one with another id counts as the oldest.
func (s *readKeys) hold(k SigningKey) (heldKey, error) {
	held := heldKey{SigningKey: k}
	if held.From.Before(k.CreatedAt) {
		held.From = k.CreatedAt
	}
	held.number, _ = strconv.ParseInt(k.ID, 10, 64)
	if s != nil {
		if i := slices.IndexFunc(s.keys, func(other heldKey) bool { return other.ID == k.ID }); i >= 0 {
			held.signer = s.keys[i].signer
			return held, nil
		}
	}
	parsed, err := x509.ParsePKCS8PrivateKey(k.Private)
	if err != nil {
		return heldKey{}, fmt.Errorf("signing key %s: %w", k.ID, err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return heldKey{}, fmt.Errorf("signing key %s is not on P-256", k.ID)
	}
	held.signer = key
	return held, nil
}

// ring is the keys whose time is not over. The end of a key is where its successor begins, so that one write, the new key's,
// is all there is to a rotation.
func (s *readKeys) ring(now time.Time) (*jose.Ring, error) {
	var slots []jose.Slot
	var end time.Time
	for i := range s.keys {
		k := &s.keys[i]
		if !k.good() {
			continue
		}
		until := end
		if !until.IsZero() && until.Before(k.From) {
			until = k.From
		}
		end = k.From
		if !until.IsZero() && !now.Before(until.Add(keyKeep)) {
			continue
		}
		slots = append(slots, jose.Slot{Signer: k.jose(), Publish: k.CreatedAt, From: k.From, Until: until})
	}
	return jose.NewRing(jose.Pace{Lead: KeyLead, Keep: keyKeep}, slots...)
}

func (k *heldKey) jose() jose.Signer { return jose.Signer{Key: k.signer, ID: k.ID} }

// waiting is the key that is to sign next; nil if there is none.
func (s *readKeys) waiting(now time.Time) *heldKey {
	for i := range s.keys {
		if k := &s.keys[i]; k.good() && now.Before(k.From) {
			return k
		}
	}
	return nil
}

// signing is the key that signs now; nil if there is none.
func (s *readKeys) signing(now time.Time) *heldKey {
	for i := range s.keys {
		if k := &s.keys[i]; k.good() && !now.Before(k.From) {
			return k
		}
	}
	return nil
}

// find is a key that counts, by id, published or not: what it signed for a device that knows no newer one has to be read, too.
func (s *readKeys) find(id string) *heldKey {
	for i := range s.keys {
		if k := &s.keys[i]; k.ID == id && k.good() {
			return k
		}
	}
	return nil
}

// signer is the key for a device: the newest in use that it knows. A device that learns no keys is signed for with an old one
// as long as that is good; no token in the field depends on its being told (R10, R87).
func (s *readKeys) signer(d *Device, now time.Time) (jose.Signer, error) {
	if d.SigningKeys == nil {
		if k := s.signing(now); k != nil {
			return k.jose(), nil
		}
		return jose.Signer{}, jose.ErrNoSigner
	}
	for i := range s.keys {
		if k := &s.keys[i]; k.good() && !now.Before(k.From) && slices.Contains(d.SigningKeys, k.ID) {
			return k.jose(), nil
		}
	}
	// It may know none but the one that waits, after the others were withdrawn.
	if k := s.waiting(now); k != nil && slices.Contains(d.SigningKeys, k.ID) {
		return k.jose(), nil
	}
	return jose.Signer{}, errNoKeyOfDevice
}

var errNoKeyOfDevice = errors.New("the device knows none of the keys that this server signs with")

// nextNumber is above every number there was, so that no id means two keys.
func (s *readKeys) nextNumber() int64 {
	if len(s.keys) == 0 {
		return 1
	}
	return s.keys[0].number + 1
}

// addNext makes a key that signs from then on. Of two processes that do so at once one gets ErrExists, and the other's key is
// as good.
func (r *keyring) addNext(ctx context.Context, s *readKeys, now, from time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make signing key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("make signing key: %w", err)
	}
	err = r.store.AddSigningKey(ctx, SigningKey{ID: strconv.FormatInt(s.nextNumber(), 10), Private: der, CreatedAt: now, From: from})
	if err != nil && !errors.Is(err, ErrExists) {
		return fmt.Errorf("store signing key: %w", err)
	}
	return nil
}

// tend sees to it that one key signs and one waits.
func (r *keyring) tend(ctx context.Context, now time.Time) (*readKeys, error) {
	s, err := r.reload(ctx, now)
	if err != nil {
		return nil, err
	}
	if s.signing(now) == nil && s.waiting(now) == nil {
		if err := r.addNext(ctx, s, now, now); err != nil {
			return nil, err
		}
		if s, err = r.reload(ctx, now); err != nil {
			return nil, err
		}
	}
	if s.waiting(now) != nil {
		return s, nil
	}
	from := now.Add(KeyLead)
	if k := s.signing(now); k != nil && k.From.Add(r.every).After(from) {
		from = k.From.Add(r.every)
	}
	if err := r.addNext(ctx, s, now, from); err != nil {
		return s, err
	}
	return r.reload(ctx, now)
}

// due reports whether it is time to look after the keys again: a store that refuses is not asked at every request.
func (r *keyring) due(now time.Time) bool {
	last := r.tended.Load()
	age := now.Sub(time.Unix(0, last))
	return (age < 0 || age >= KeyReload) && r.tended.CompareAndSwap(last, now.UnixNano())
}
