package doorlock_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/client"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/coapsec/dtls"
	"github.com/latchkey-ace/latchkey/scenarios/doorlock"
	"github.com/latchkey-ace/latchkey/scenarios/stage"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

const (
	handshakeTime = 10 * time.Second
	noAnswerTime  = 1500 * time.Millisecond // longer than a handshake that works, with one retransmission
	logTime       = 2 * time.Second
)

// street is the lock of the story on coap_dtls, with nobody admitted yet. At the end no possession key of its phones may have
// crossed the air.
type street struct {
	*doorlock.Story
	t       *testing.T
	secrets [][]byte
}

func newStreet(t *testing.T) *street {
	t.Helper()
	s := &street{Story: newStory(t, pop.ProfileCoAPDTLS), t: t}
	for _, step := range doorlock.Steps[:2] {
		s.must("", step.Do(t.Context(), s.Story))
	}
	t.Cleanup(func() { noneCrossed(t, s.Air, s.secrets) })
	return s
}

func noneCrossed(t *testing.T, air *stage.Relay, secrets [][]byte) {
	t.Helper()
	for _, d := range air.Seen() {
		if slices.ContainsFunc(secrets, func(k []byte) bool { return bytes.Contains(d.Bytes, k) }) {
			t.Errorf("datagram %x shows a possession key", d.Bytes)
		}
	}
}

func (s *street) must(out string, err error) string {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

func (s *street) phone(args ...string) (string, error) {
	return s.Phone(s.t.Context(), "mum", "", args...)
}

// guest is one session of mum's phone with one grant.
type guest struct {
	*street
	name  string
	grant string
	until time.Time
}

// admit grants the words and redeems a login for them; flags are those of grant add.
func (s *street) admit(name, words string, flags ...string) *guest {
	s.t.Helper()
	g := &guest{street: s, name: name}
	args := []string{"grant", "add", "--owner", "alice", "--to", "mum", "--device", "front-door"}
	for word := range strings.FieldsSeq(words) {
		args = append(args, "--allow", word)
	}
	var answer struct {
		Grant string
		Until time.Time
	}
	s.must("", s.LatchkeyJSON(s.t.Context(), &answer, append(args, flags...)...))
	g.grant, g.until = answer.Grant, answer.Until
	s.must(s.Phone(s.t.Context(), "mum", doorlock.MumPassword, "login", "--session", name, "--issuer", s.Issuer(), "--client", "phone",
		"--device", "front-door", "--scope", words, "--user", "mum", "--password-stdin"))
	return g
}

// token redeems the login.
func (g *guest) token(flags ...string) *guest {
	g.t.Helper()
	g.must(g.phone(append([]string{"token", "--session", g.name}, flags...)...))
	g.secrets = append(g.secrets, g.saved().Secret)
	return g
}

// do runs one command of the phone against the lock's DTLS address.
func (g *guest) do(command ...string) (string, error) {
	return g.phone(append(command, "--session", g.name, "--to", g.To())...)
}

func (g *guest) saved() client.Saved {
	g.t.Helper()
	data, err := os.ReadFile(g.Path("phone-mum", g.name+".json"))
	var memory struct{ Session client.Saved }
	if err == nil {
		err = json.Unmarshal(data, &memory)
	}
	if err != nil || len(memory.Session.Secret) < 16 || memory.Session.Profile != pop.ProfileCoAPDTLS {
		g.t.Fatalf("the session %s is not one of coap_dtls: %v", g.name, err)
	}
	return memory.Session
}

func (g *guest) revoke() {
	g.t.Helper()
	var answer struct{ Confirmed bool }
	g.must("", g.LatchkeyJSON(g.t.Context(), &answer, "grant", "revoke", g.grant))
	if !answer.Confirmed {
		g.t.Error("the lock did not confirm")
	}
}

// phoneApp is the session in an app that stays, with one association.
type phoneApp struct {
	*client.Session
	*client.Association
	t *testing.T
}

func (g *guest) app() *phoneApp {
	g.t.Helper()
	session := client.Restore(g.saved(), func(client.Saved) error { return nil }, nil)
	ctx, cancel := context.WithTimeout(g.t.Context(), handshakeTime)
	defer cancel()
	a, err := session.Dial(ctx, g.dial)
	g.must("", err)
	g.t.Cleanup(func() { _ = a.Close() })
	return &phoneApp{session, a, g.t}
}

func (g *guest) dial(ctx context.Context, identity, key []byte) (client.Conn, error) {
	address := netip.MustParseAddrPort(strings.TrimPrefix(g.To(), "coaps://"))
	return dtls.Dial(ctx, address, identity, key, dtls.Options{})
}

func (a *phoneApp) look() error {
	ctx, cancel := context.WithTimeout(a.t.Context(), noAnswerTime)
	defer cancel()
	_, err := a.Do(ctx, a.Association, coapsec.NewRequest(codes.GET, "/door", coapsec.NoFormat, nil))
	return err
}

// over wants that the association opens nothing any more: it hears 4.01 while it lasts, and soon is lost.
func (a *phoneApp) over() {
	a.t.Helper()
	answer := new(client.AnswerError)
	if err := a.look(); !errors.Is(err, dtls.ErrLost) && !(errors.As(err, &answer) && answer.Code == codes.Unauthorized) {
		a.t.Errorf("after the end: got %v, want 4.01 or %v", err, dtls.ErrLost)
	}
	if stage.Eventually(5*time.Second, func() bool { return errors.Is(a.look(), dtls.ErrLost) }) != nil {
		a.t.Error("the association has outlived its session")
	}
}

// refused wants that neither the key id nor, if there is one, the token begins an association, and that the lock says why.
func (g *guest) refused(reasons ...string) {
	g.t.Helper()
	if out, err := g.do("get", "/door"); err == nil {
		g.t.Errorf("a new handshake was let in: %s", out)
	}
	for _, reason := range reasons {
		g.logged(reason)
	}
}

func (s *street) logged(reason string) {
	s.t.Helper()
	if stage.Eventually(logTime, func() bool {
		return slices.ContainsFunc(s.Lock().Events("access"), func(e stage.Event) bool {
			return e.Result == "refused" && strings.Contains(e.Reason, reason)
		})
	}) != nil {
		s.t.Errorf("the lock refused nothing for %q:\n%s", reason, s.Lock().Output())
	}
}

// crossed counts the datagrams to the lock that hold b.
func (s *street) crossed(b []byte) (n int) {
	for _, d := range s.Air.Seen() {
		if d.ToLock && bytes.Contains(d.Bytes, b) {
			n++
		}
	}
	return n
}

// TestBothFormsOfIdentity: the token the first time, its key id from then on (RFC 9202 §3.3.2).
func TestBothFormsOfIdentity(t *testing.T) {
	g := newStreet(t).admit("forms", "view unlock").token("--no-upload")
	named, err := ace.PSKIdentity{KeyID: g.saved().KeyID}.Encode()
	g.must("", err)
	for i, want := range []struct{ token, named int }{{1, 0}, {1, 1}, {1, 2}} {
		g.must(g.do("post", "/door/unlock"))
		if got := g.crossed(g.saved().Token); got != want.token {
			t.Errorf("handshake %d: the token crossed %d times, want %d", i+1, got, want.token)
		}
		if got := g.crossed(named); got != want.named {
			t.Errorf("handshake %d: the key id crossed %d times, want %d", i+1, got, want.named)
		}
	}
}

// TestDeliveryInEitherForm: bare to /authz-info, or within a handshake; the second time in any of them does no harm.
func TestDeliveryInEitherForm(t *testing.T) {
	s := newStreet(t)
	for i, to := range []string{"coap://" + s.Address, s.To()} {
		g := s.admit([]string{"bare", "handshake"}[i], "view").token("--no-upload")
		for range 2 {
			g.must(g.phone("deliver", "--session", g.name, "--to", to))
		}
		if !g.saved().Delivered {
			t.Errorf("%s: not noted as delivered", g.name)
		}
		g.must(g.do("get", "/door"))
		if got, want := g.crossed(g.saved().Token) > 0, i == 1; got != want {
			t.Errorf("%s: token in a handshake: %v, want %v", g.name, got, want)
		}
	}
}

func TestRevocationEndsTheAssociation(t *testing.T) {
	s := newStreet(t)
	g, other := s.admit("mine", "view").token("--no-upload"), s.admit("other", "view").token()
	app, bystander := g.app(), other.app()
	g.must(g.phone("deliver", "--session", g.name, "--to", g.To())) // the command's session knows of its key id too
	g.must("", app.look())
	g.revoke()
	app.over()
	g.refused("no session has this key id", "token revoked")
	g.must("", bystander.look())
}

func TestExpiryEndsTheAssociation(t *testing.T) {
	g := newStreet(t).admit("late", "view", "--until", "3s").token()
	app := g.app()
	g.must("", app.look())
	time.Sleep(time.Until(g.until.Add(100 * time.Millisecond)))
	app.over()
	g.refused("no session has this key id")
}

// TestRestartNeedsNoNewToken: the key outlives a power cut, the association does not. The phone holds no token that it could
// show again.
func TestRestartNeedsNoNewToken(t *testing.T) {
	g := newStreet(t).admit("restart", "view unlock").token()
	if len(g.saved().Token) != 0 {
		t.Fatal("the phone has the token, although the server delivered it")
	}
	for range 3 {
		app := g.app()
		g.must("", app.look())
		g.Lock().Kill()
		g.must("", g.NeedLock())
		if err := app.look(); err == nil {
			t.Error("an association outlived its lock")
		}
		g.must(g.do("get", "/door"))
		g.must(g.do("post", "/door/unlock"))
		g.must("", g.app().look())
	}
}

// TestWrongKeyMakesNoAssociation: silence for a wrong key (RFC 4279 §2 would let it be told from an unknown one), a refusal
// for an unknown id.
func TestWrongKeyMakesNoAssociation(t *testing.T) {
	g := newStreet(t).admit("wrong", "view").token()
	try := func(kid, key []byte) (error, bool) {
		identity, err := ace.PSKIdentity{KeyID: kid}.Encode()
		g.must("", err)
		ctx, cancel := context.WithTimeout(t.Context(), noAnswerTime)
		defer cancel()
		conn, err := g.dial(ctx, identity, key)
		if err == nil {
			_ = conn.Close()
		}
		return err, ctx.Err() != nil
	}
	saved := g.saved()
	wrong := bytes.Clone(saved.Secret)
	wrong[0] ^= 1
	if err, waited := try(saved.KeyID, wrong); err == nil || !waited {
		t.Errorf("wrong key: got %v, want silence", err)
	}
	if err, waited := try([]byte("of nobody"), saved.Secret); err == nil || waited {
		t.Errorf("unknown key id: got %v, want a refusal", err)
	}
	g.logged("no session has this key id")
	g.must(g.do("get", "/door"))
}

// TestTwoPhones: each has its own key id, and the end of one is not the end of the other.
func TestTwoPhones(t *testing.T) {
	s := newStreet(t)
	first, second := s.admit("first", "view unlock").token(), s.admit("second", "view unlock").token("--make-key")
	if bytes.Equal(first.saved().KeyID, second.saved().KeyID) || bytes.Equal(first.saved().Secret, second.saved().Secret) {
		t.Fatal("two tokens share a key or a key id")
	}
	for _, g := range []*guest{first, second, first} {
		g.must(g.do("post", "/door/unlock"))
	}
	a, b := first.app(), second.app()
	first.revoke()
	a.over()
	second.must("", b.look())
	second.must(second.do("post", "/door/unlock"))
}

// TestKeyOfOnePhoneUnderTheNameOfAnother is what identity misbinding would be, in both forms of identity.
func TestKeyOfOnePhoneUnderTheNameOfAnother(t *testing.T) {
	s := newStreet(t)
	first, second := s.admit("first", "view").token(), s.admit("second", "view unlock").token("--no-upload")
	for _, id := range []ace.PSKIdentity{{Token: second.saved().Token}, {KeyID: second.saved().KeyID}} {
		identity, err := id.Encode()
		s.must("", err)
		ctx, cancel := context.WithTimeout(t.Context(), noAnswerTime)
		defer cancel()
		if conn, err := first.dial(ctx, identity, first.saved().Secret); err == nil {
			_ = conn.Close()
			t.Error("a key opened what another key's name stands for")
		}
	}
	second.must(second.do("post", "/door/unlock"))
}

// TestOnceOverDTLS: the second use is refused with the word, over the association that stands and over a new one; the token
// itself, shown again, makes none.
func TestOnceOverDTLS(t *testing.T) {
	g := newStreet(t).admit("once", "unlock", "--once").token("--no-upload")
	g.must(g.do("post", "/door/unlock"))
	for range 2 {
		if out, err := g.do("post", "/door/unlock"); err == nil || !strings.Contains(err.Error(), "Forbidden: used") {
			t.Errorf("got %q, %v, want 4.03 used", out, err)
		}
	}
	if out, err := g.phone("deliver", "--session", g.name, "--to", "coap://"+g.Address); err == nil || !strings.Contains(err.Error(), "Forbidden") {
		t.Errorf("the token shown again: got %q, %v, want 4.03", out, err)
	}
	if n := len(g.Lock().Events("bolt")); n != 1 {
		t.Errorf("the bolt moved %d times", n)
	}
}
