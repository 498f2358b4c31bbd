package stage

import (
	"cmp"
	"context"
	"crypto"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"github.com/latchkey-ace/latchkey/authz/attest/reference"
	"github.com/latchkey-ace/latchkey/pop/client"
)

// App is what its platform calls the app of all stories.
const App = "com.example.door"

const attestersFile = "attesters.toml"

// trustAttester tells the server of an attester whose port is free now.
func (s *Stage) trustAttester() error {
	at, err := FreePort("tcp")
	if err != nil {
		return err
	}
	s.Attester = "http://" + at
	text := fmt.Sprintf("[attester.dev]\nissuer = %q\nkeys = %q\nkind = \"development\"\nsays = true\n", s.Attester, s.Attester+"/jwks")
	return os.WriteFile(s.Path(attestersFile), []byte(text), 0o600)
}

// needAttester starts the attester unless it runs.
func (s *Stage) needAttester() error {
	s.mu.Lock()
	running := s.attester != nil && s.attester.Running()
	s.mu.Unlock()
	if running || s.Attester == "" { // a second node has none of its own
		return nil
	}
	p, err := s.start("latchkey", "NOT FOR PRODUCTION", "attester", "--listen", s.Attester[len("http://"):], "--key", s.Path("attester.pem"),
		"--app", App+"=phone:"+s.published())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attester = p
	return err
}

// Program is a program's file.
func (s *Stage) Program(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(s.Bin, name)
}

// AttesterKeys writes the attester's public keys into a file.
func (s *Stage) AttesterKeys(ctx context.Context, path string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Attester+"/jwks", http.NoBody)
	if err != nil {
		return err
	}
	answer, err := client.NewHTTP().Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	keys, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	return os.WriteFile(path, keys, 0o600)
}

func (s *Stage) published() string { return cmp.Or(s.Options.App, s.Program("phone")) }

// Vouch lets the attester vouch for a key as if it were one of the genuine app's.
func (s *Stage) Vouch(key crypto.Signer) func(context.Context, bool) (string, error) {
	i := &reference.Instance{Attester: s.Attester, App: App, Program: s.published(), Key: key, HTTP: client.NewHTTP()}
	return func(ctx context.Context, _ bool) (string, error) { return i.Attest(ctx) }
}
