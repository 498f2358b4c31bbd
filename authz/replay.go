package authz

import (
	"context"
	"fmt"
	"time"
)

// lateReplay is the reason on record when a code is shown long after it was redeemed.
const lateReplay = "late replay of a redeemed code"

// replayed answers a request that is right in everything but that its code was redeemed at the given time (D20). Within
// ReplayGrace it may be the same request once more, and nothing happens. Later somebody else has what belongs to the code, and
// nobody knows which of the two got the tokens: all that came from it ends, in one transaction with the word to the devices and
// the entry in the audit log.
func (s *Server) replayed(ctx context.Context, r *request, redeemed time.Time) error {
	now := s.now()
	if now.Sub(redeemed) <= ReplayGrace {
		return badCode("code was redeemed before")
	}
	entry := r.entry("refused")
	entry.At, entry.Reason = now, lateReplay
	if _, err := s.store.End(ctx, EndSpec{Code: r.shown.use.code, Audit: entry}, now); err != nil {
		return fmt.Errorf("end what came from a replayed code: %w", err)
	}
	return &recordedError{badCode(lateReplay)}
}

// recordedError is a refusal that is in the audit log already.
type recordedError struct{ error }

func (e *recordedError) Unwrap() error { return e.error }
