package authz

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-ace/latchkey/pop/news"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// HashesPerNews keeps one piece of news within one datagram: 24 × 35 bytes and the wrapping.
const HashesPerNews = 24

// errNotApplied is for a device that could not do what the news asked for.
var errNotApplied = errors.New("the device answered that it could not apply the news")

// Sequences gives each piece of news its number; a Store does.
type Sequences interface {
	NextSequence(ctx context.Context, device provision.DeviceID, kind string, now time.Time) (uint64, error)
}

// Teller tells devices of ended tokens.
type Teller struct {
	Sequences Sequences
	Deliverer Deliverer
	Now       func() time.Time
}

// Tell sends one piece of news with at most HashesPerNews hashes, under a sequence of its own. It returns nil only for the
// device's own receipt that it has applied them. After any error it may have done so, and may be told again.
//
// The news also says the time, so that there is something to confirm even without a hash.
func (t Teller) Tell(ctx context.Context, d Device, hashes [][]byte) error {
	sequence, err := t.Sequences.NextSequence(ctx, d.ID, SequenceNews, t.Now())
	if err != nil {
		return fmt.Errorf("news sequence: %w", err)
	}
	items := []news.Item{news.TimeItem(t.Now())}
	if len(hashes) > 0 {
		items = append(items, news.HashesItem(hashes...))
	}
	receipt, err := t.Deliverer.Tell(ctx, d, news.News{Sequence: sequence, IssuedAt: t.Now(), Items: items})
	if err != nil {
		return err
	}
	if !receipt.Applied {
		return errNotApplied
	}
	return nil
}
