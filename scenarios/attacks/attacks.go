// Package attacks tries what must not work, on the real programs, and wants each refusal with its own code and reason.
package attacks

import (
	"context"

	"github.com/latchkey-ace/latchkey/scenarios/stage"
)

// Attack is one try. Check names the build tag nocheck_… under which exactly this one gets through.
type Attack struct {
	Says  string
	Check string
	Do    func(ctx context.Context, s *Siege) error
}

// Siege is the stage of the attacks.
type Siege struct{ *stage.Stage }

// All are the attacks, in the order of the demonstration.
var All []Attack

// New sets the stage.
func New(ctx context.Context, s *stage.Stage) (*Siege, error) { return &Siege{s}, nil }

// Close ends it.
func (s *Siege) Close() {}
