// Package housekeeping removes from the store what nobody asks for any more: expired rows, and audit entries beyond their
// retention. It runs inside every server; of several on one database a lease lets one work.
//
// It decides nothing about tokens: what has expired is refused whether or not its row is still there. Start from New and
// Keeper.Run.
package housekeeping

import (
	"context"
	"crypto/rand"
	"log/slog"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
)

// Store is what housekeeping needs of authz.Store.
type Store interface {
	authz.Housekeeping
	authz.Leases
	PruneAudit(ctx context.Context, before time.Time, limit int) (int, error)
}

// Options of a Keeper; zero fields are the safe defaults.
type Options struct {
	Every     time.Duration // between two turns; default Every
	Retention time.Duration // how long audit entries are kept; 0: for ever
	Holder    string        // names this process among those on the same database; default random
	Removed   func(n int)   // is told of each batch that removed something; nil: nobody
	Log       *slog.Logger  // default discards

	Now  func() time.Time                                 // default time.Now
	Wait func(ctx context.Context, d time.Duration) error // default waits for d or the end of ctx, whose error it returns
}

// Keeper keeps one store tidy. Turns of one Keeper must not overlap.
type Keeper struct {
	store Store
	o     Options
}

// New makes a Keeper.
func New(store Store, o Options) *Keeper {
	if o.Every <= 0 {
		o.Every = Every
	}
	if o.Holder == "" {
		o.Holder = rand.Text()
	}
	if o.Removed == nil {
		o.Removed = func(int) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Wait == nil {
		o.Wait = wait
	}
	return &Keeper{store: store, o: o}
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Run takes a turn now and then until ctx ends, and gives the lease back. A turn that fails is logged and repeated at the next:
// a server whose store is away for a while has worse to do than to stop for this.
func (k *Keeper) Run(ctx context.Context) error {
	for {
		if _, err := k.Turn(ctx); err != nil && ctx.Err() == nil {
			k.o.Log.Error("housekeeping", "err", err)
		}
		if k.o.Wait(ctx, k.o.Every) != nil {
			k.leave(ctx)
			return nil
		}
	}
}

// leave lets another process begin at once.
func (k *Keeper) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	if leads, err := k.lead(ctx, 0); err != nil || !leads {
		k.o.Log.Debug("housekeeping: the lease runs out by itself", "err", err)
	}
}

func (k *Keeper) lead(ctx context.Context, life time.Duration) (bool, error) {
	now := k.o.Now()
	return k.store.Lease(ctx, leaseName, k.o.Holder, now, now.Add(life))
}

// Turn removes batch after batch until nothing is left, if this process leads, and reports how many rows went. Between batches
// it waits, so that mints are not held up by it; each batch asks for the lease again, so that a turn of any length has one
// leader.
func (k *Keeper) Turn(ctx context.Context) (total int, err error) {
	for {
		leads, err := k.lead(ctx, leaseTurns*k.o.Every)
		if err != nil || !leads {
			return total, err
		}
		n, err := k.batch(ctx)
		total += n
		if n > 0 {
			k.o.Removed(n)
		}
		if err != nil || n == 0 {
			return total, err
		}
		if err := k.o.Wait(ctx, batchPause); err != nil {
			return total, err
		}
	}
}

func (k *Keeper) batch(ctx context.Context) (int, error) {
	now := k.o.Now()
	n, err := k.store.Sweep(ctx, now, batchSize)
	if err != nil || k.o.Retention <= 0 {
		return n, err
	}
	pruned, err := k.store.PruneAudit(ctx, now.Add(-k.o.Retention), batchSize)
	return n + pruned, err
}
