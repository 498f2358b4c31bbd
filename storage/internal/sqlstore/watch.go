package sqlstore

import (
	"context"
	"time"
)

// Watch reports each write transaction from then on: how long it took until it was durable, and its error. Call it before
// the store is used.
func (s *Store) Watch(report func(took time.Duration, err error)) {
	s.engine = keeping{&watched{s.engine.Engine, report}}
}

type watched struct {
	Engine
	report func(time.Duration, error)
}

func (w *watched) Commit(ctx context.Context, t Transaction) error {
	start := time.Now()
	err := w.Engine.Commit(ctx, t)
	w.report(time.Since(start), err)
	return err
}
