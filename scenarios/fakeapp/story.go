// Package fakeapp is the third story: somebody puts a clone of the door app into a store. It has the genuine app's name, gets the
// codes that are meant for it, and has even copied what the genuine app remembers, but nobody vouches for it. README.md tells the
// same steps. Start from Steps.
package fakeapp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/latchkey-ace/latchkey/scenarios/stage"
)

// Story is the state between the steps.
type Story struct {
	*stage.Stage
	clone   string // the program
	lock    *stage.Process
	address string // of the lock
}

// Steps is the story.
var Steps = []stage.Step[*Story]{
	{Says: "Dora's door app shows that it is genuine; it gets a token and renews it.", Do: genuine},
	{Says: "A clone was changed: the attester does not vouch for it.", Do: changed},
	{Says: "The clone asks for a code in the app's name: refused, nobody vouches for it.", Do: asks},
	{Says: "The clone redeems a code that it caught, with all that the app remembers, its key too: refused; the app still gets its token.", Do: redeems},
	{Says: "The clone renews a session that it has copied whole: refused; the app still can.", Do: renews},
	{Says: "The garage wants it shown for each unlock: the app opens it; the clone, with the app's token and keys, does not.", Do: opens},
}

// New makes the story on a stage.
func New(s *stage.Stage) *Story { return &Story{Stage: s} }

// DoraPassword is the password of the story's only person.
const DoraPassword = "dora's long password"

// forgotten are what a clone leaves out of what the app remembers: nobody would vouch for it.
var forgotten = []string{"attester", "app"}

func genuine(ctx context.Context, s *Story) error {
	if err := s.NeedServer(); err != nil {
		return err
	}
	if err := errors.Join(s.AddUser(ctx, "dora", DoraPassword), s.AddPhone(ctx)); err != nil {
		return err
	}
	if err := s.AddDevice(ctx, "garage", "dora", []string{"view=/door:GET", "unlock=/door/unlock:POST"}, "--kind", "lock"); err != nil {
		return err
	}
	if err := s.needLock(ctx); err != nil {
		return err
	}
	if err := s.login(ctx, "phone", "genuine"); err != nil {
		return err
	}
	return errors.Join(s.token(ctx, "phone", "genuine"), s.token(ctx, "phone", "genuine", "--refresh"))
}

// needLock starts the garage's lock, which takes the attester's word with its public key.
func (s *Story) needLock(ctx context.Context) error {
	if s.lock != nil && s.lock.Running() {
		return nil
	}
	keys := s.Path("attester.jwks")
	if err := s.AttesterKeys(ctx, keys); err != nil {
		return err
	}
	var err error
	if s.address, err = stage.FreePort("udp"); err != nil {
		return err
	}
	s.lock, err = s.StartLock("garage", s.address, "--vouched", "unlock", "--attester-keys", keys, "--attester", s.Attester, "--app", "phone")
	return err
}

func opens(ctx context.Context, s *Story) error {
	unlock := func(program, session string) error {
		_, err := s.Run(ctx, "", program, "post", "/door/unlock", "--session", session, "--to", "coap://"+s.address, "--state", s.Path("phone-dora"), "-v")
		return err
	}
	if err := unlock("phone", "genuine"); err != nil {
		return err
	}
	if err := s.steal("genuine"); err != nil {
		return err
	}
	before := len(s.lock.Events("bolt"))
	if err := refused(unlock(s.clone, "stolen-genuine"), "integrity token wanted"); err != nil {
		return err
	}
	if len(s.lock.Events("bolt")) != before {
		return errors.New("the bolt moved")
	}
	return nil
}

// makeClone copies the app and changes it.
func (s *Story) makeClone() error {
	program, err := os.ReadFile(s.Program("phone"))
	if err != nil {
		return err
	}
	s.clone = s.Path("clone")
	return os.WriteFile(s.clone, append(program, "and sends the keys to the thief"...), 0o700)
}

func changed(ctx context.Context, s *Story) error {
	if err := s.makeClone(); err != nil {
		return err
	}
	return refused(s.login(ctx, s.clone, "clone"), "the app was changed")
}

func asks(ctx context.Context, s *Story) error {
	_, err := s.Run(ctx, DoraPassword, s.clone, "login", "--push", "--session", "asks", "--issuer", s.Issuer(), "--client", "phone", "--device", "garage",
		"--user", "dora", "--password-stdin", "--state", s.Path("phone-dora"), "-v")
	return refused(err, "invalid_client")
}

func redeems(ctx context.Context, s *Story) error {
	if err := s.login(ctx, "phone", "caught"); err != nil {
		return err
	}
	if err := s.steal("caught"); err != nil {
		return err
	}
	if err := refused(s.token(ctx, s.clone, "stolen-caught"), "invalid_client"); err != nil {
		return err
	}
	return s.token(ctx, "phone", "caught")
}

func renews(ctx context.Context, s *Story) error {
	if err := s.steal("genuine"); err != nil {
		return err
	}
	if err := refused(s.token(ctx, s.clone, "stolen-genuine", "--refresh"), "invalid_client"); err != nil {
		return err
	}
	return s.token(ctx, "phone", "genuine", "--refresh")
}

// login signs Dora in with the app or with the clone, for whom the attester is asked too.
func (s *Story) login(ctx context.Context, program, session string) error {
	_, err := s.Run(ctx, DoraPassword, program, "login", "--session", session, "--issuer", s.Issuer(), "--client", "phone", "--device", "garage",
		"--user", "dora", "--password-stdin", "--attester", s.Attester, "--app", stage.App, "--state", s.Path("phone-dora"), "-v")
	return err
}

func (s *Story) token(ctx context.Context, program, session string, flags ...string) error {
	_, err := s.Run(ctx, "", program, append([]string{"token", "--session", session, "--state", s.Path("phone-dora"), "-v"}, flags...)...)
	return err
}

// steal copies all that the app remembers of a session, but who vouches for it.
func (s *Story) steal(session string) error {
	folder := s.Path("phone-dora")
	text, err := os.ReadFile(filepath.Join(folder, session+".json"))
	if err != nil {
		return err
	}
	var memory map[string]json.RawMessage
	if err := json.Unmarshal(text, &memory); err != nil {
		return err
	}
	for _, name := range forgotten {
		delete(memory, name)
	}
	if text, err = json.Marshal(memory); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, "stolen-"+session+".json"), text, 0o600)
}

// refused wants a refusal that says so.
func refused(err error, why string) error {
	switch {
	case err == nil:
		return errors.New("it was not refused")
	case !strings.Contains(err.Error(), why):
		return fmt.Errorf("refused otherwise than with %s: %w", why, err)
	}
	return nil
}
