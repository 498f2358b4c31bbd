// Package demo plays both stories, then a fake app and the attacks, each of which must be refused for its own reason, and tells
// each step. Start from Play.
package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/scenarios/attacks"
	"github.com/latchkey-ace/latchkey/scenarios/doorlock"
	"github.com/latchkey-ace/latchkey/scenarios/fakeapp"
	"github.com/latchkey-ace/latchkey/scenarios/medical"
	"github.com/latchkey-ace/latchkey/scenarios/stage"
)

// Options of Play.
type Options struct {
	Bin     string // folder of the programs
	Out     io.Writer
	Verbose bool        // show each message decoded
	Stay    bool        // leave everything up until ctx ends
	Profile pop.Profile // of the door lock in its story; 0: coap_oscore
	Report  func(Result)
}

// Result is one step as it went.
type Result struct {
	Part string `json:"part"`
	Step int    `json:"step"`
	Says string `json:"says"`
	Err  string `json:"error,omitempty"`
}

// ErrFailed says that at least one step did not hold.
var ErrFailed = errors.New("not every step held")

// Play runs everything in a folder of its own. It returns nil only if every step and every refusal held.
func Play(ctx context.Context, o Options) error {
	dir, err := os.MkdirTemp("", "latchkey-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	began := time.Now()
	s, err := stage.New(ctx, stage.Options{Bin: o.Bin, Dir: dir, Out: o.Out, Verbose: o.Verbose})
	if err != nil {
		return err
	}
	defer s.Close()
	o.Profile = cmp.Or(o.Profile, pop.ProfileCoAPOSCORE)
	p := &player{Options: o, stage: s}
	p.play(ctx, s)
	fmt.Fprintf(o.Out, "\n%d of %d steps held, in %.1f s\n", p.held, p.all, time.Since(began).Seconds())
	if o.Stay && ctx.Err() == nil {
		p.stay(ctx, s)
	}
	if p.held != p.all {
		return ErrFailed
	}
	return nil
}

type player struct {
	Options
	stage     *stage.Stage
	held, all int
}

func (p *player) play(ctx context.Context, s *stage.Stage) {
	door, err := doorlock.New(s, p.Profile)
	if err != nil {
		p.note("The door lock", 0, "The stage is set.", err)
		return
	}
	defer door.Close()
	if !run(ctx, p, "The door lock", door, doorlock.Steps) {
		return
	}
	if !run(ctx, p, "The medical device", medical.New(s, "sign1-ecdh"), medical.Steps) {
		return
	}
	clone := fakeapp.New(s)
	fmt.Fprintln(p.Out, "\nThe fake app")
	for i, step := range fakeapp.Steps {
		p.try("The fake app", i+1, step.Says, func() error { return step.Do(ctx, clone) })
	}
	siege, err := attacks.New(ctx, s)
	if err != nil {
		p.note("The attacks", 0, "The stage is set.", err)
		return
	}
	defer siege.Close()
	fmt.Fprintln(p.Out, "\nThe attacks, each to be refused")
	for i, a := range attacks.All {
		p.try("The attacks", i+1, a.Says, func() error { return a.Do(ctx, siege) })
	}
}

// try does one step that stands on its own.
func (p *player) try(part string, n int, says string, do func() error) bool {
	p.begin(n, says)
	err := do()
	p.stage.TellMessages()
	return p.note(part, n, says, err)
}

// run plays one story; the steps build on each other, so the first that fails ends it.
func run[T any](ctx context.Context, p *player, part string, story T, steps []stage.Step[T]) bool {
	fmt.Fprintln(p.Out, "\n"+part)
	for i, step := range steps {
		if !p.try(part, i+1, step.Says, func() error { return step.Do(ctx, story) }) {
			return false
		}
	}
	return true
}

// begin announces a step; its messages follow.
func (p *player) begin(n int, says string) { fmt.Fprintf(p.Out, "%3d. %s\n", n, says) }

func (p *player) note(part string, n int, says string, err error) bool {
	p.all++
	result := Result{Part: part, Step: n, Says: says}
	if err == nil {
		p.held++
		fmt.Fprintln(p.Out, "     ✓")
	} else {
		result.Err = err.Error()
		fmt.Fprintf(p.Out, "     ✗ %v\n", err)
	}
	if p.Report != nil {
		p.Report(result)
	}
	return err == nil
}

// stay leaves the processes up and says where they are.
func (p *player) stay(ctx context.Context, s *stage.Stage) {
	fmt.Fprintf(p.Out, "\nEverything is still up:\n  server    %s\n  metadata  %s/.well-known/oauth-authorization-server\n  devices   coap://%s\n  folder    %s (deleted at the end)\n", s.Issuer(), s.Issuer(), s.CoAP, s.Dir)
	fmt.Fprintf(p.Out, "  people    alice (%s), mum (%s), carol (%s)\nStop with Ctrl-C.\n", doorlock.AlicePassword, doorlock.MumPassword, medical.CarolPassword)
	<-ctx.Done()
}
