package stage

import (
	"context"
	"math/rand/v2"
	"time"
)

// patience is how long a person waits for a step that a power cut has hit, before trying again.
const patience = 5 * time.Second

// Victim is a process of a story that loses its power.
type Victim[T any] struct {
	Name    string
	Process func(story T) *Process // nil before it first started
	Restart func(story T) error
}

// Cut kills the victim at a random moment of the step, restarts it, and does the step again if it did not get through. It
// says what happened.
func Cut[T any](ctx context.Context, story T, step Step[T], v Victim[T]) (string, error) {
	p := v.Process(story)
	if p == nil { // the step itself starts it
		if err := step.Do(ctx, story); err != nil {
			return "", err
		}
		if p = v.Process(story); p == nil {
			return "not there yet", nil
		}
		p.Kill()
		return "killed right after", v.Restart(story)
	}
	first, giveUp := context.WithTimeout(ctx, patience)
	defer giveUp()
	done := make(chan error, 1)
	go func() { done <- step.Do(first, story) }()
	time.Sleep(rand.N(30 * time.Millisecond))
	p.Kill()
	if err := v.Restart(story); err != nil {
		return "", err
	}
	if err := <-done; err == nil {
		return "got through", nil
	}
	return "done again", step.Retry(ctx, story)
}
