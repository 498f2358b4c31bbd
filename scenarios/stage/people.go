package stage

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
)

// Step is one step of a story about a T. Again goes on after a process was killed during Do; nil means that Do itself may
// be done again.
type Step[T any] struct {
	Says  string
	Do    func(ctx context.Context, story T) error
	Again func(ctx context.Context, story T) error
}

// Retry does a step again after something was killed during it.
func (s Step[T]) Retry(ctx context.Context, story T) error {
	if s.Again != nil {
		return s.Again(ctx, story)
	}
	return s.Do(ctx, story)
}

// NeedServer starts the server unless it runs.
func (s *Stage) NeedServer() error {
	if server := s.Server(); server != nil && server.Running() {
		return nil
	}
	return s.StartServer()
}

// AddUser makes a person known; one who is known already is left as is.
func (s *Stage) AddUser(ctx context.Context, name, password string) error {
	_, err := s.Latchkey(ctx, password, "user", "add", name, "--password-stdin")
	return unlessExists(err)
}

// AddPhone registers the app "phone", which may make its own keys. It holds no secret: each instance of it shows that somebody vouches
// for it.
func (s *Stage) AddPhone(ctx context.Context) error {
	shows := []string{"--auth-method", "attest_jwt_client_auth", "--attester", "dev", "--app", App}
	if s.Public {
		shows = []string{"--public"}
	}
	_, err := s.Latchkey(ctx, "", append([]string{"client", "add", "phone", "--redirect-uri", "http://127.0.0.1/callback", "--client-made-keys",
		"--grant-type", "authorization_code", "--grant-type", "refresh_token"}, shows...)...)
	return unlessExists(err)
}

// unlessExists forgives a step that had been done before it was cut short.
func unlessExists(err error) error {
	var run *RunError
	if errors.As(err, &run) && strings.Contains(run.Stderr, "exists already") {
		return nil
	}
	return err
}

// AddDevice makes a device known and writes NAME.lkp. If the file of an earlier try is there, the device is known.
func (s *Stage) AddDevice(ctx context.Context, name, owner string, actions []string, flags ...string) error {
	file := s.Path(name + ".lkp")
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	args := append([]string{"device", "add", name, "--owner", owner, "--out", file}, flags...)
	for _, a := range actions {
		args = append(args, "--action", a)
	}
	_, err := s.Latchkey(ctx, "", args...)
	return err
}
