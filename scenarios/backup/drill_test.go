package backup_test

import (
	"context"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/scenarios/doorlock"
	"github.com/latchkey-ace/latchkey/scenarios/stage"
	"github.com/latchkey-ace/latchkey/storage/storagetest/pgtest"
)

var bin, nextBin string

func TestMain(m *testing.M) {
	os.Exit(stage.WithPrograms(func(dir string) int {
		bin, nextBin = dir, dir+"/next"
		return pgtest.Main(m)
	}))
}

// house is a stage with a lock that calls its server every two seconds.
type house struct {
	*stage.Stage
	t    *testing.T
	lock *stage.Process
	at   string
}

func newHouse(t *testing.T, db string) *house {
	t.Helper()
	return houseOf(t, stage.Options{Bin: bin, Dir: t.TempDir(), Out: t.Output(), DB: db})
}

func houseOf(t *testing.T, o stage.Options) *house {
	t.Helper()
	s, err := stage.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	h := &house{Stage: s, t: t}
	h.must(s.StartServer())
	for name, password := range map[string]string{"alice": doorlock.AlicePassword, "mum": doorlock.MumPassword} {
		h.must(s.AddUser(t.Context(), name, password))
	}
	h.must(s.AddPhone(t.Context()))
	h.must(s.AddDevice(t.Context(), "front-door", "alice", doorlock.Actions, "--kind", "lock"))
	h.at, err = stage.FreePort("udp")
	h.must(err)
	h.lock, err = s.StartLock("front-door", h.at, "--lifetime", "5s")
	h.must(err)
	return h
}

func (h *house) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// phone runs mum's phone.
func (h *house) phone(stdin string, args ...string) (string, error) {
	return h.Phone(h.t.Context(), "mum", stdin, args...)
}

func (h *house) login(scope string) error {
	_, err := h.phone(doorlock.MumPassword, "login", "--issuer", h.Issuer(), "--client", "phone", "--device", "front-door", "--scope", scope,
		"--user", "mum", "--password-stdin")
	return err
}

// enter signs in and gets a token for the words.
func (h *house) enter(scope string) error {
	if err := h.login(scope); err != nil {
		return err
	}
	_, err := h.phone("", "token", "--make-key")
	return err
}

func (h *house) ask(method, path string) error {
	_, err := h.phone("", method, path, "--to", "coap://"+h.at)
	return err
}

// refused wants an error that says each of the words.
func (h *house) refused(what string, err error, words ...string) {
	h.t.Helper()
	if err == nil {
		h.t.Errorf("%s: accepted", what)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			h.t.Errorf("%s: got %v, want %q in it", what, err, word)
		}
	}
}

// grantOnce lets mum do all that the door offers her, each once.
func (h *house) grantOnce() string {
	h.t.Helper()
	var answer struct{ Grant string }
	h.must(h.LatchkeyJSON(h.t.Context(), &answer, "grant", "add", "--owner", "alice", "--to", "mum", "--device", "front-door",
		"--allow", "view", "--allow", "unlock", "--allow", "disarm", "--until", "4h", "--once"))
	return answer.Grant
}

// drill are the commands of docs/backup.md.
func drill(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/backup.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```sh\n")
	block, _, _ := strings.Cut(rest, "```")
	var commands []string
	for line := range strings.Lines(block) {
		if strings.HasPrefix(line, "latchkey ") {
			commands = append(commands, strings.TrimSpace(line))
		}
	}
	if len(commands) != 6 {
		t.Fatalf("docs/backup.md has %d commands", len(commands))
	}
	return commands
}

// play runs a command of the drill in the stage's folder.
func (h *house) play(command string, more ...string) {
	h.t.Helper()
	words, into, redirected := strings.Cut(command, " > ")
	args := append(strings.Fields(words)[1:], more...)
	for i, word := range args {
		if i > 0 && (args[i-1] == "--data" || args[i-1] == "--out" || args[i-1] == "--to-file" || args[i-1] == "--identity") || strings.HasSuffix(word, ".age") {
			args[i] = h.Path(word)
		}
	}
	out, err := h.Run(h.t.Context(), "", "latchkey", args...)
	h.must(err)
	if redirected {
		h.must(os.WriteFile(h.Path(into), []byte(out), 0o600))
	}
}

func TestDrill(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { playDrill(t, "", "") })
	t.Run("postgres", func(t *testing.T) { playDrill(t, pgtest.Start(t), pgtest.Start(t)) })
	t.Run("from sqlite to postgres", func(t *testing.T) { playDrill(t, "", pgtest.Start(t)) })
}

// playDrill is docs/backup.md: the disk dies after mum has unlocked the door, which she may do once.
func playDrill(t *testing.T, db, newDB string) {
	h, commands := newHouse(t, db), drill(t)
	h.grantOnce()
	h.must(h.enter("view unlock disarm"))
	h.must(h.ask("get", "/door"))
	h.play(commands[0])
	h.play(commands[1])
	h.must(h.ask("post", "/door/unlock"))
	h.must(h.login("view disarm")) // and a code that is on its way
	h.Server().Kill()
	h.must(os.Rename(h.Path("server"), h.Path("lost")))
	var more []string
	if newDB != "" {
		more = []string{"--db", newDB}
	}
	h.play(commands[2], more...)
	h.must(os.Rename(h.Path("restored"), h.Path("server"))) // where the stage's server is
	h.must(h.StartServer())
	h.onlyRead()
	h.play(strings.Replace(commands[3], "restored", "server", 1))
	h.play(strings.Replace(commands[4], "restored", "server", 1))
	h.afterRecover()
}

func (h *house) onlyRead() {
	h.t.Helper()
	for _, path := range []string{"/jwks", "/.well-known/oauth-authorization-server"} {
		response, err := http.Get("http://" + h.HTTP + path)
		h.must(err)
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			h.t.Errorf("%s: got %s", path, response.Status)
		}
	}
	_, err := h.phone("", "token", "--make-key") // the code of before
	h.refused("a code before recover", err)
	h.refused("a sign-in before recover", h.login("view"))
	_, err = h.Latchkey(h.t.Context(), "", "grant", "add", "--owner", "alice", "--to", "mum", "--device", "front-door", "--allow", "view")
	h.refused("a grant before recover", err, "latchkey recover")
}

// afterRecover: the lock hears of the new epoch when it registers, and its log is read.
func (h *house) afterRecover() {
	h.t.Helper()
	h.must(stage.Eventually(20*time.Second, func() bool { return h.ask("get", "/door") != nil }))  // the session of before ends
	h.must(stage.Eventually(20*time.Second, func() bool { return h.enter("view disarm") == nil })) // once its log is read
	h.must(h.ask("get", "/door"))
	h.must(h.ask("post", "/alarm/disarm"))
	h.refused("what was used before the disk died", h.enter("unlock"), "used up")
	out, err := h.Latchkey(h.t.Context(), "", "audit", "tail", "--lines", "1000")
	h.must(err)
	if !strings.Contains(out, "recover") {
		h.t.Errorf("the audit log says nothing of it: %s", out)
	}
}

// TestLogIsWantedFirst: without the lock a grant that is good once gives nothing, and one that is not gives as ever.
func TestLogIsWantedFirst(t *testing.T) {
	h, commands := newHouse(t, ""), drill(t)
	h.grantOnce()
	h.play(commands[0])
	h.play(commands[1])
	h.lock.Kill()
	h.Server().Kill()
	h.must(os.Rename(h.Path("server"), h.Path("lost")))
	h.play(commands[2])
	h.play(commands[3])
	h.must(os.Rename(h.Path("restored"), h.Path("server")))
	h.must(h.StartServer())
	h.must(h.login("unlock"))
	_, err := h.phone("", "token", "--make-key")
	h.refused("once, before the log", err, "online")
	_, err = h.StartLock("front-door", h.at, "--lifetime", "5s")
	h.must(err)
	h.must(stage.Eventually(20*time.Second, func() bool { return h.enter("unlock") == nil }))
	h.must(h.ask("post", "/door/unlock"))
}

// TestBackupWithoutItsKey is F112: it says nothing and brings nothing back.
func TestBackupWithoutItsKey(t *testing.T) {
	h, commands := newHouse(t, ""), drill(t)
	h.play(commands[0])
	h.play(commands[1])
	file, err := os.ReadFile(h.Path("monday.age"))
	h.must(err)
	for _, word := range []string{"front-door", "alice", "store_key", "latchkey"} {
		if strings.Contains(string(file), word) {
			t.Errorf("the backup shows %q", word)
		}
	}
	_, err = h.Run(context.Background(), "", "latchkey", "backup", "key", "--out", h.Path("other.key"))
	h.must(err)
	_, err = h.Run(context.Background(), "", "latchkey", "restore", h.Path("monday.age"), "--identity", h.Path("other.key"), "--data", h.Path("restored"))
	h.refused("another key", err, "another key")
	if _, err := os.Stat(h.Path("restored")); err == nil {
		t.Error("a folder was left behind")
	}
}
