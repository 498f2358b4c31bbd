package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/resource"
	"github.com/latchkey-ace/latchkey/resource/jwt"
	"github.com/latchkey-ace/latchkey/storage/device"
)

// memory is a resource.Store that forgets with the process.
type memory struct{ state resource.State }

// Load implements resource.Store.
func (m *memory) Load() (resource.State, error) { return m.state, nil }

// Save implements resource.Store.
func (m *memory) Save(s resource.State) error {
	m.state = s
	return nil
}

// spread is a set of durations.
type spread []time.Duration

// at is a quantile, 0.5 for the median, in microseconds.
func (s spread) at(q float64) float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return float64(sorted[int(q*float64(len(sorted)-1))].Nanoseconds()) / 1000
}

// accept measures how long a device without a network takes to accept a token: check, key, context and store.
func (b *bench) accept(ctx context.Context) error {
	h, err := b.newHouse(ctx, "accept", provision.ClockNone)
	if err != nil {
		return err
	}
	defer h.store.Close()
	floor, err := bareVerify()
	if err != nil {
		return err
	}
	const part = "Offline acceptance of a token; the floor is one bare ES256 verification"
	for _, durable := range []bool{false, true} {
		for _, shape := range shapes {
			n, where := b.samples, "in memory"
			if durable {
				n, where = max(b.samples/5, 10), "durable"
			}
			took, err := b.acceptAll(ctx, h, shape, durable, n)
			if err != nil {
				return fmt.Errorf("accept %s: %w", shape, err)
			}
			b.table.add(row{
				Part: part, What: shapeWords[shape] + ", " + where, Figure: took.at(0.5), Unit: "µs",
				More: fmt.Sprintf("p99 %s", short(took.at(0.99))), Floor: floor, Bare: "verify",
			})
		}
	}
	return nil
}

// acceptAll lets a fresh device accept n tokens that the server issued, one after the other.
func (b *bench) acceptAll(ctx context.Context, h *house, shape provision.Shape, durable bool, n int) (spread, error) {
	tokens, err := h.tokens(ctx, shape, n)
	if err != nil {
		return nil, err
	}
	var store resource.Store = &memory{}
	if durable {
		disk, err := device.Open(filepath.Join(b.dir, "device-"+shape.String()))
		if err != nil {
			return nil, err
		}
		defer disk.Close()
		store = disk
	}
	server, err := newResource(h.devices[shape], store)
	if err != nil {
		return nil, err
	}
	took := make(spread, 0, n)
	for _, token := range tokens {
		in := ace.AuthzInfo{Token: token, Nonce1: make([]byte, 8), ClientRecipientID: []byte{7}}
		if _, err := rand.Read(in.Nonce1); err != nil {
			return nil, err
		}
		began := time.Now()
		if _, err := server.Accept(ctx, in, resource.Origin{Address: "192.0.2.1:5683"}); err != nil {
			return nil, err
		}
		took = append(took, time.Since(began))
	}
	return took, nil
}

func newResource(d *provision.Device, store resource.Store) (*resource.Server, error) {
	clock, err := device.NewClock()
	if err != nil {
		return nil, err
	}
	c := resource.Config{Device: d, Store: store, Clock: clock}
	if d.Token == provision.ShapeJWT {
		if c.Opener, err = jwt.New(d); err != nil {
			return nil, err
		}
	}
	return resource.New(c, resource.Options{})
}

// bareVerify is in microseconds.
func bareVerify() (float64, error) {
	key, digest, err := signature()
	if err != nil {
		return 0, err
	}
	signed, err := ecdsa.SignASN1(rand.Reader, key, digest)
	if err != nil {
		return 0, err
	}
	return processorTime(func() error {
		if !ecdsa.VerifyASN1(&key.PublicKey, digest, signed) {
			return errors.New("does not verify")
		}
		return nil
	})
}

// bareSign is in microseconds.
func bareSign() (float64, error) {
	key, digest, err := signature()
	if err != nil {
		return 0, err
	}
	return processorTime(func() error {
		_, err := ecdsa.SignASN1(rand.Reader, key, digest)
		return err
	})
}

// processorTime is what one call of do uses, in microseconds: what else the machine does is not counted.
func processorTime(do func() error) (float64, error) {
	const warm, calls = 1000, 10_000
	var before time.Duration
	for i := range warm + calls {
		if i == warm {
			before = ownTime()
		}
		if err := do(); err != nil {
			return 0, err
		}
	}
	return float64((ownTime() - before).Nanoseconds()) / 1000 / calls, nil
}

func signature() (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	digest := sha256.Sum256([]byte("claims"))
	return key, digest[:], err
}
