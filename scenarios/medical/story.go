// Package medical is the second story: Carol's health monitor speaks only over a short-range radio, never reaches the
// server and has no clock. Her phone shows it a token that carries the key, encrypted to the device. README.md tells
// the same steps in the same order. Start from Steps.
package medical

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/latchkey-ace/latchkey/scenarios/stage"
)

// Story is the state between the steps.
type Story struct {
	*stage.Stage
	Shape   string // of the token: encrypt0, sign1, sign1-ecdh or jwt
	granted bool

	mu      sync.Mutex
	monitor *stage.Process // may be replaced while a step runs: its battery fails
}

// Monitor is the monitor's process; nil before it first started.
func (s *Story) Monitor() *stage.Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.monitor
}

// NeedMonitor starts the monitor, or starts it again after it was killed.
func (s *Story) NeedMonitor() error {
	if m := s.Monitor(); m != nil && m.Running() {
		return nil
	}
	m, err := s.StartMonitor("monitor")
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.monitor = m
	}
	return err
}

// Steps is the story. Each may be done again after a process was killed during it.
var Steps = []stage.Step[*Story]{
	{Says: "The server starts; Carol and her app are known to it.", Do: people},
	{Says: "Her monitor gets its keys and waits on its radio; it has no network and no clock.", Do: monitor},
	{Says: "Carol signs in and lets her app look; the token carries the key, closed to all but the monitor.", Do: tokenToLook},
	{Says: "Her phone shows the token to the monitor over the radio.", Do: deliver},
	{Says: "Her phone reads the measurements.", Do: look},
	{Says: "Changing settings is refused: nobody allowed that yet.", Do: refused},
	{Says: "Carol allows herself to configure; the phone gets a second token and shows it.", Do: tokenToConfigure},
	{Says: "Her phone changes a setting.", Do: configure},
}

// New makes the story on a fresh stage.
func New(s *stage.Stage, shape string) *Story { return &Story{Stage: s, Shape: shape} }

// CarolPassword is the password of the story's only person.
const CarolPassword = "carol's long password"

// Actions of the monitor.
var Actions = []string{"view=/measurements:GET", "configure=/settings:PUT"}

func people(ctx context.Context, s *Story) error {
	if err := s.NeedServer(); err != nil {
		return err
	}
	if err := s.AddUser(ctx, "carol", CarolPassword); err != nil {
		return err
	}
	return s.AddPhone(ctx)
}

func monitor(ctx context.Context, s *Story) error {
	err := s.AddDevice(ctx, "monitor", "carol", Actions, "--kind", "medical", "--token", s.Shape, "--clock", "none", "--exi", "10m")
	if err != nil {
		return err
	}
	return s.NeedMonitor()
}

// fetch logs Carol in for a scope and takes the token to the phone's session of that name.
func (s *Story) fetch(ctx context.Context, session, scope string) error {
	_, err := s.Phone(ctx, "carol", CarolPassword, "login", "--session", session, "--issuer", s.Issuer(), "--client", "phone",
		"--device", "monitor", "--scope", scope, "--user", "carol", "--password-stdin")
	if err != nil {
		return err
	}
	out, err := s.Phone(ctx, "carol", "", "token", "--session", session)
	if err == nil && !strings.Contains(out, "show it to the device") {
		err = wrong("the server claims to have reached a device that is never online: %s", out)
	}
	return err
}

func tokenToLook(ctx context.Context, s *Story) error { return s.fetch(ctx, "look", "view") }

func deliver(ctx context.Context, s *Story) error { return s.show(ctx, "look") }

func (s *Story) show(ctx context.Context, session string) error {
	_, err := s.Phone(ctx, "carol", "", "deliver", "--session", session, "--to", s.Link())
	return err
}

// Link is the monitor's radio.
func (s *Story) Link() string { return "gatt:" + s.Path("monitor.sock") }

func look(ctx context.Context, s *Story) error {
	out, err := s.Phone(ctx, "carol", "", "get", "/measurements", "--session", "look", "--to", s.Link())
	if err == nil && !strings.Contains(out, "bpm") {
		err = wrong("no measurement in %q", out)
	}
	return err
}

func refused(ctx context.Context, s *Story) error {
	out, err := s.Phone(ctx, "carol", "", "put", "/settings", "--data", "interval=60", "--session", "look", "--to", s.Link())
	switch {
	case err == nil:
		return wrong("the settings changed: %s", out)
	case !strings.Contains(err.Error(), "Forbidden"):
		return wrong("refused otherwise than with 4.03: %w", err)
	}
	return nil
}

func tokenToConfigure(ctx context.Context, s *Story) error {
	if !s.granted {
		if _, err := s.Latchkey(ctx, "", "grant", "add", "--owner", "carol", "--to", "carol", "--device", "monitor", "--allow", "configure", "--until", "2h"); err != nil {
			return err
		}
		s.granted = true
	}
	if err := s.fetch(ctx, "configure", "configure"); err != nil {
		return err
	}
	return s.show(ctx, "configure")
}

func configure(ctx context.Context, s *Story) error {
	out, err := s.Phone(ctx, "carol", "", "put", "/settings", "--data", "interval=60", "--session", "configure", "--to", s.Link())
	if err == nil && !strings.Contains(out, "interval=60") {
		err = wrong("the monitor answered %q", out)
	}
	return err
}

var errStory = errors.New("the story goes on wrongly")

func wrong(format string, args ...any) error {
	return fmt.Errorf("%w: %w", errStory, fmt.Errorf(format, args...))
}
