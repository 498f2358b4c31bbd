package sqlstore

import (
	"context"
	"time"
)

// Watch reports each write transaction from then on: how long it took until it was durable, and its error. Call it before
// the store is used.
func (s *Store) Watch(report func(took time.Duration, err error)) {
	s.engine = &watched{s.engine, report}
}

type watched struct {
	Engine
	report func(time.Duration, error)
}

func (w *watched) Write(ctx context.Context, work func(context.Context, Querier) error) error {
	start := time.Now()
	err := w.Engine.Write(ctx, work)
	w.report(time.Since(start), err)
	return err
}
