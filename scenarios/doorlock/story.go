// Package doorlock is the first story: Alice's mother opens the front door and disarms the alarm, this evening only,
// and Alice ends it. README.md tells the same steps in the same order, and which profiles they can be played on. Start from
// Steps.
package doorlock

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/scenarios/stage"
)

// Story is the state between the steps.
type Story struct {
	*stage.Stage
	Profile pop.Profile  // how phones and the lock talk
	Address string       // where the lock listens to its server, and to phones of coap_oscore
	Secure  string       // where it listens to phones of coap_dtls; ""
	Air     *stage.Relay // between mum's phone and the lock
	Grant   string

	mu   sync.Mutex
	lock *stage.Process // may be replaced while a step runs: its power is cut
}

// Lock is the lock's process; nil before it first started.
func (s *Story) Lock() *stage.Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lock
}

// Steps is the story. Each may be done again after a process was killed during it.
var Steps = []stage.Step[*Story]{
	{Says: "The server starts; Alice, her mother and the door app are known to it.", Do: people},
	{Says: "The front door gets its keys and calls the server over its own channel.", Do: door},
	{Says: "Alice lets her mother look, unlock the door and disarm the alarm, this evening only, each once.", Do: give},
	{Says: "Her mother signs in and says yes; the app gets a code.", Do: login},
	{Says: "The app redeems the code; the server hands token and key to the lock and answers the phone.", Do: token, Again: loginAndToken},
	{Says: "Her phone looks at the door.", Do: look},
	{Says: "Her phone unlocks the door: the bolt moves.", Do: unlock, Again: orUsed(unlock)},
	{Says: "Her phone disarms the alarm.", Do: disarm, Again: orUsed(disarm)},
	{Says: "Alice ends it, and the lock confirms.", Do: revoke},
}

// New makes the story on a fresh stage.
func New(s *stage.Stage, profile pop.Profile) (*Story, error) {
	story := &Story{Stage: s, Profile: profile}
	var err error
	if story.Address, err = stage.FreePort("udp"); err != nil {
		return nil, err
	}
	heard := story.Address
	if profile == pop.ProfileCoAPDTLS {
		if story.Secure, err = stage.FreePort("udp"); err != nil {
			return nil, err
		}
		heard = story.Secure
	}
	story.Air, err = stage.NewRelay(heard)
	return story, err
}

// To is where phones reach the lock through the air.
func (s *Story) To() string {
	if s.Profile == pop.ProfileCoAPDTLS {
		return s.Air.SecureAddress()
	}
	return s.Air.Address()
}

// Close ends what the stage does not.
func (s *Story) Close() { s.Air.Close() }

// Passwords of the story's people.
const (
	AlicePassword = "alice's long password"
	MumPassword   = "mum's long password"
)

// Actions of the front door (ARCHITECTURE.md §3.13).
var Actions = []string{"view=/door:GET", "unlock=/door/unlock:POST", "lock=/door/lock:POST", "disarm=/alarm/disarm:POST"}

func people(ctx context.Context, s *Story) error {
	if err := s.NeedServer(); err != nil {
		return err
	}
	for name, password := range map[string]string{"alice": AlicePassword, "mum": MumPassword} {
		if err := s.AddUser(ctx, name, password); err != nil {
			return err
		}
	}
	return s.AddPhone(ctx)
}

func door(ctx context.Context, s *Story) error {
	if err := s.AddDevice(ctx, "front-door", "alice", Actions, "--kind", "lock", "--profile", s.Profile.String()); err != nil {
		return err
	}
	return s.NeedLock()
}

// NeedLock starts the lock, or starts it again after it was killed.
func (s *Story) NeedLock() error {
	if lock := s.Lock(); lock != nil && lock.Running() {
		return nil
	}
	var flags []string
	if s.Secure != "" {
		flags = []string{"--listen-dtls", s.Secure}
	}
	lock, err := s.StartLock("front-door", s.Address, flags...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.lock = lock
	}
	return err
}

func give(ctx context.Context, s *Story) error {
	if s.Grant != "" {
		return nil
	}
	var answer struct{ Grant string }
	err := s.LatchkeyJSON(ctx, &answer, "grant", "add", "--owner", "alice", "--to", "mum", "--device", "front-door",
		"--allow", "view", "--allow", "unlock", "--allow", "disarm", "--until", "4h", "--once")
	s.Grant = answer.Grant
	return err
}

func login(ctx context.Context, s *Story) error {
	_, err := s.Phone(ctx, "mum", MumPassword, "login", "--issuer", s.Issuer(), "--client", "phone", "--device", "front-door",
		"--scope", "view unlock disarm", "--user", "mum", "--password-stdin")
	return err
}

// token makes the key on the phone, as the story's app does.
func token(ctx context.Context, s *Story) error {
	out, err := s.Phone(ctx, "mum", "", "token", "--make-key")
	if err != nil {
		return err
	}
	if !strings.Contains(out, "the server delivered it") {
		return wrong("the token was not delivered: %s", out)
	}
	return nil
}

// loginAndToken: a code is never sent again, because nobody knows whether the first answer got lost (D20).
func loginAndToken(ctx context.Context, s *Story) error {
	if err := login(ctx, s); err != nil {
		return err
	}
	return token(ctx, s)
}

// ErrUsed: the use was written down before the power went, so nobody knows whether the bolt moved, and it will not move
// again (D14). Alice would grant anew.
var ErrUsed = errors.New("the one use was spent when the power went")

// orUsed does a step again, in which the one use may have been spent already.
func orUsed(do func(context.Context, *Story) error) func(context.Context, *Story) error {
	return func(ctx context.Context, s *Story) error {
		err := do(ctx, s)
		if err != nil && strings.Contains(err.Error(), "Forbidden") {
			return ErrUsed
		}
		return err
	}
}

func look(ctx context.Context, s *Story) error {
	return s.expect(ctx, "closed", "get", "/door")
}

func unlock(ctx context.Context, s *Story) error {
	if err := s.expect(ctx, "open", "post", "/door/unlock"); err != nil {
		return err
	}
	return s.moved("bolt", "open")
}

func disarm(ctx context.Context, s *Story) error {
	if err := s.expect(ctx, "disarmed", "post", "/alarm/disarm"); err != nil {
		return err
	}
	return s.moved("alarm", "disarmed")
}

// expect sends a request from mum's phone through the air and wants text in the proven answer.
func (s *Story) expect(ctx context.Context, text, method, path string) error {
	out, err := s.Phone(ctx, "mum", "", method, path, "--to", s.To())
	if err != nil {
		return err
	}
	if !strings.Contains(out, text) {
		return wrong("%s %s: %q instead of %q", method, path, out, text)
	}
	return nil
}

// moved wants the lock itself to say that something moved.
func (s *Story) moved(what, state string) error {
	return stage.Eventually(2*time.Second, func() bool {
		events := s.Lock().Events(what)
		return len(events) > 0 && events[len(events)-1].State == state
	})
}

func revoke(ctx context.Context, s *Story) error {
	var answer struct {
		Confirmed bool
		Cause     string
	}
	if err := s.LatchkeyJSON(ctx, &answer, "grant", "revoke", s.Grant); err != nil {
		return err
	}
	if !answer.Confirmed {
		return wrong("the lock did not confirm: %s", answer.Cause)
	}
	return nil
}

var errStory = errors.New("the story goes on wrongly")

func wrong(format string, args ...any) error {
	return fmt.Errorf("%w: %w", errStory, fmt.Errorf(format, args...))
}
