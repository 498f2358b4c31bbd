package coapsec

import (
	"context"
	"errors"
)

// Shutdown takes no new requests, waits until those at work are answered and their answers acknowledged or given up, and
// closes the endpoint. New requests are dropped like datagrams that were lost; exchanges of our own go on meanwhile. When
// ctx ends first it closes at once and returns ctx's error.
func (e *Endpoint) Shutdown(ctx context.Context) error {
	e.mu.Lock()
	e.leaving = true
	e.mu.Unlock()
	idle := make(chan struct{})
	go func() {
		e.work.Wait()
		close(idle)
	}()
	var err error
	select {
	case <-idle:
	case <-ctx.Done():
		err = ctx.Err()
	}
	return errors.Join(err, e.Close())
}
