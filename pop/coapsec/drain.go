package coapsec

import "context"

// Drain takes no new requests from then on, and waits until those at work are answered and their answers acknowledged or
// given up, or until ctx ends, whose error it then returns. New requests are dropped like datagrams that were lost; the
// requests of this side, and what comes back to them, go on until Close.
func (e *Endpoint) Drain(ctx context.Context) error {
	e.mu.Lock()
	e.draining = true
	e.mu.Unlock()
	idle := make(chan struct{})
	go func() { // for no longer than the handlers' own contexts last, which Close ends
		e.work.Wait()
		close(idle)
	}()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
