package attacks

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-ace/latchkey/pop/client"
	"github.com/latchkey-ace/latchkey/scenarios/stage"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

const (
	window       = 3 * time.Second        // of the grant that ends while we watch
	slack        = 100 * time.Millisecond // the lock's time was right when the server sent it
	logTime      = 2 * time.Second        // for a log line to appear
	holdTime     = 5 * time.Second        // for a phone to send what is to be held back
	ownerName    = "oscar"
	ownerPass    = "oscar's long password"
	guestName    = "guest"
	guestPass    = "guest's long password"
	redirectHome = "http://127.0.0.1/callback"
)

// Siege is the stage of the attacks: one lock behind a relay, two monitors, an owner and a guest.
type Siege struct {
	*stage.Stage
	Lock    *stage.Process
	Other   *stage.Process // the monitor that a token is not for
	Address string         // of the lock
	Air     *stage.Relay   // between the guest's phone and the lock
	last    string         // id of the last grant
	until   time.Time      // its end
}

// New sets the stage on a server that may have other devices and people.
func New(ctx context.Context, s *stage.Stage) (*Siege, error) {
	a := &Siege{Stage: s}
	if err := a.people(ctx); err != nil {
		return nil, err
	}
	if err := a.devices(ctx); err != nil {
		return nil, err
	}
	var err error
	a.Air, err = stage.NewRelay(a.Address)
	return a, err
}

// Close ends what the stage does not.
func (s *Siege) Close() { s.Air.Close() }

func (s *Siege) people(ctx context.Context) error {
	if err := s.NeedServer(); err != nil {
		return err
	}
	return errors.Join(s.AddUser(ctx, ownerName, ownerPass), s.AddUser(ctx, guestName, guestPass), s.AddPhone(ctx))
}

func (s *Siege) devices(ctx context.Context) (err error) {
	if s.Address, err = stage.FreePort("udp"); err != nil {
		return err
	}
	actions := []string{"view=/door:GET", "unlock=/door/unlock:POST", "lock=/door/lock:POST", "disarm=/alarm/disarm:POST"}
	if err := s.AddDevice(ctx, "back-door", ownerName, actions, "--kind", "lock"); err != nil {
		return err
	}
	for _, name := range []string{"monitor-one", "monitor-two"} {
		if err := s.AddDevice(ctx, name, guestName, []string{"view=/measurements:GET", "configure=/settings:PUT"}, "--kind", "medical"); err != nil {
			return err
		}
	}
	if s.Lock, err = s.StartLock("back-door", s.Address); err != nil {
		return err
	}
	s.Other, err = s.StartMonitor("monitor-two")
	return err
}

// reboot cuts the lock's power and gives it back.
func (s *Siege) reboot() (err error) {
	s.Lock.Kill()
	s.Lock, err = s.StartLock("back-door", s.Address)
	return err
}

// grant lets the guest do the words, with more flags of grant add.
func (s *Siege) grant(ctx context.Context, words string, flags ...string) error {
	args := []string{"grant", "add", "--owner", ownerName, "--to", guestName, "--device", "back-door"}
	for word := range strings.FieldsSeq(words) {
		args = append(args, "--allow", word)
	}
	if err := s.endLast(ctx); err != nil {
		return err
	}
	var answer struct {
		Grant string
		Until time.Time
	}
	err := s.LatchkeyJSON(ctx, &answer, append(args, flags...)...)
	s.last, s.until = answer.Grant, answer.Until
	return err
}

// endLast ends the grant of the attack before, so that each stands on its own.
func (s *Siege) endLast(ctx context.Context) error {
	if s.last == "" {
		return nil
	}
	return s.revoke(ctx)
}

func (s *Siege) revoke(ctx context.Context) error {
	var answer struct {
		Confirmed bool
		Cause     string
	}
	err := s.LatchkeyJSON(ctx, &answer, "grant", "revoke", s.last)
	if err == nil && !answer.Confirmed {
		err = fmt.Errorf("revocation not confirmed: %s", answer.Cause)
	}
	s.last = ""
	return err
}

// login gets the guest's yes for a device.
func (s *Siege) login(ctx context.Context, session, device, scope string) error {
	_, err := s.Phone(ctx, guestName, guestPass, "login", "--session", session, "--issuer", s.Issuer(), "--client", "phone",
		"--device", device, "--scope", scope, "--user", guestName, "--password-stdin")
	return err
}

// admit is grant and login.
func (s *Siege) admit(ctx context.Context, session, words string, flags ...string) error {
	if err := s.grant(ctx, words, flags...); err != nil {
		return err
	}
	return s.login(ctx, session, "back-door", words)
}

// session is admit and a token that the server has delivered.
func (s *Siege) session(ctx context.Context, name, words string, flags ...string) error {
	if err := s.admit(ctx, name, words, flags...); err != nil {
		return err
	}
	out, err := s.Phone(ctx, guestName, "", "token", "--session", name)
	if err == nil && !strings.Contains(out, "the server delivered it") {
		err = fmt.Errorf("token not delivered: %s", out)
	}
	return err
}

// code gets an authorization code in hand.
func (s *Siege) code(ctx context.Context, device, scope string) (*client.Client, client.Code, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, client.Code{}, err
	}
	c, err := client.Discover(ctx, s.Issuer(), client.Options{ID: "phone", Rand: rand.Reader, DPoP: key, Attest: s.Vouch(key)})
	if err != nil {
		return nil, client.Code{}, err
	}
	code, err := c.Headless(ctx, client.Ask{Audience: device, Scope: scope, Redirect: redirectHome}, guestName, guestPass)
	return c, code, err
}

// unlock opens the door as the guest may, and wants the bolt to move.
func (s *Siege) unlock(ctx context.Context, session string) error {
	before := s.opened()
	if _, err := s.Phone(ctx, guestName, "", "post", "/door/unlock", "--session", session, "--to", s.Air.Address()); err != nil {
		return err
	}
	return stage.Eventually(logTime, func() bool { return s.opened() == before+1 })
}

// opened counts how often the bolt has moved since the lock started.
func (s *Siege) opened() int { return len(s.Lock.Events("bolt")) }

// hold lets the guest's phone send an unlock and keeps it from arriving.
func (s *Siege) hold(ctx context.Context, session string) ([]byte, error) {
	held := make(chan []byte, 1)
	s.Air.Change(func(d []byte) []byte {
		select {
		case held <- slices.Clone(d):
		default:
		}
		return nil
	})
	defer s.Air.Change(nil)
	ctx, cancel := context.WithTimeout(ctx, holdTime)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = s.Phone(ctx, guestName, "", "post", "/door/unlock", "--session", session, "--to", s.Air.Address()) // it waits in vain
	}()
	select {
	case d := <-held:
		cancel()
		<-done
		return d, nil
	case <-ctx.Done():
		return nil, errors.New("the phone sent nothing")
	}
}

// lastToLock is the last datagram to the lock since a count.
func (s *Siege) lastToLock(since int) ([]byte, error) {
	seen := s.Air.Seen()[since:]
	for _, d := range slices.Backward(seen) {
		if d.ToLock {
			return slices.Clone(d.Bytes), nil
		}
	}
	return nil, errors.New("nothing was sent to the lock")
}

// sendAndWant sends a datagram from a new place and wants it refused, with the bolt at rest.
func (s *Siege) sendAndWant(ctx context.Context, datagram []byte, code codes.Code, reason string) error {
	before, log := s.opened(), watching(s.Lock)
	got, err := sendRaw(ctx, s.Address, datagram)
	if err != nil {
		return err
	}
	if err := s.refused(got, code, log, reason); err != nil {
		return err
	}
	if s.opened() != before {
		return errors.New("the bolt moved")
	}
	return nil
}

// refused compares code and reason with what was to be expected.
func (s *Siege) refused(got, want codes.Code, log watch, reason string) error {
	if got != want {
		return fmt.Errorf("answered %v, want %v", got, want)
	}
	return log.refused(reason)
}

// watch is a device's access log from now on.
type watch struct {
	device *stage.Process
	from   int
}

func watching(p *stage.Process) watch { return watch{device: p, from: len(p.Events("access"))} }

// refused wants a refusal for this reason since the watch began.
func (w watch) refused(reason string) error {
	var seen []string
	err := stage.Eventually(logTime, func() bool {
		seen = nil
		for _, e := range w.device.Events("access")[w.from:] {
			if e.Result == "refused" && strings.Contains(e.Reason, reason) {
				return true
			}
			seen = append(seen, e.Result+" "+e.Reason)
		}
		return false
	})
	if err != nil {
		return fmt.Errorf("the device logged %q, want refused %q", seen, reason)
	}
	return nil
}

// audited wants the server's newest refusal to have this reason.
func (s *Siege) audited(ctx context.Context, reason string) error {
	out, err := s.Latchkey(ctx, "", "audit", "tail", "-n", "10")
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	for _, line := range slices.Backward(lines) {
		if strings.Contains(line, "refused") {
			if strings.Contains(line, reason) {
				return nil
			}
			return fmt.Errorf("the server noted %q, want %q", line, reason)
		}
	}
	return fmt.Errorf("the server noted no refusal:\n%s", out)
}

// wantText wants a refusal that says so.
func wantText(err error, text string) error {
	switch {
	case err == nil:
		return errors.New("it was not refused")
	case !strings.Contains(err.Error(), text):
		return fmt.Errorf("refused otherwise than with %s: %w", text, err)
	}
	return nil
}
