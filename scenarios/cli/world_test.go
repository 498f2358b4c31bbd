package cli_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/scenarios/stage"
	"github.com/latchkey-ace/latchkey/storage/storagetest/pgtest"
)

var bin string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "latchkey-bin-")
	if err == nil {
		err = stage.Build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	bin = dir
	code := pgtest.Main(m)
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// house is a folder with everything in it; commands run there, with LATCHKEY_DATA set to its server's folder.
type house struct {
	t    *testing.T
	dir  string
	env  []string // of every command
	http string   // where newHouse lets the server serve HTTP
}

// runTime is for a program that should refuse and goes on instead.
const runTime = 20 * time.Second

const (
	alicePassword = "alice's long password"
	mumPassword   = "mum's long password"
	serverFolder  = "server"
)

// newHouse has a server's folder with two people, two apps, a lock, a monitor and a grant; nothing runs.
func newHouse(t *testing.T) *house { return newHouseOn(t) }

// newHouseOn is newHouse with variables for every command.
func newHouseOn(t *testing.T, env ...string) *house {
	t.Helper()
	h := &house{t: t, dir: t.TempDir(), env: env, http: freePort(t, "tcp")}
	h.must("", "latchkey", "init", "--http", h.http, "--coap", freePort(t, "udp"))
	h.must(alicePassword, "latchkey", "user", "add", "alice", "--password-stdin")
	h.must(mumPassword, "latchkey", "user", "add", "mum", "--password-stdin")
	h.must("", "latchkey", "client", "add", "phone", "--public", "--redirect-uri", "http://127.0.0.1/callback", "--client-made-keys")
	h.write("gateway.secret", h.must("", "latchkey", "client", "add", "gateway", "--json"))
	h.must("", "latchkey", "device", "add", "front-door", "--owner", "alice", "--kind", "lock", "--out", "front-door.lkp",
		"--action", "view=/door:GET", "--action", "unlock=/door/unlock:POST")
	h.must("", "latchkey", "device", "add", "monitor", "--owner", "alice", "--kind", "medical", "--out", "monitor.lkp",
		"--action", "view=/measurements:GET")
	h.must("", "latchkey", "grant", "add", "--owner", "alice", "--to", "mum", "--device", "front-door", "--allow", "unlock", "--until", "4h")
	return h
}

func freePort(t *testing.T, network string) string {
	t.Helper()
	address, err := stage.FreePort(network)
	if err != nil {
		t.Fatal(err)
	}
	return address
}

func (h *house) path(name ...string) string {
	return filepath.Join(append([]string{h.dir}, name...)...)
}

// write makes a 0600 file.
func (h *house) write(name, content string) {
	h.t.Helper()
	if err := os.WriteFile(h.path(name), []byte(content), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) chmod(name string, mode fs.FileMode) {
	h.t.Helper()
	if err := os.Chmod(h.path(name), mode); err != nil {
		h.t.Fatal(err)
	}
}

// call is one run of a program.
type call struct {
	program string
	args    string // parted by spaces
	argv    []string
	stdin   string
	env     []string
}

// result is how it ended.
type result struct {
	code     int
	out, err string
}

func (h *house) run(c call) result {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), runTime)
	defer cancel()
	cmd := h.command(ctx, c)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		h.t.Fatal(err)
	}
	return result{code: cmd.ProcessState.ExitCode(), out: out.String(), err: errs.String()}
}

func (h *house) command(ctx context.Context, c call) *exec.Cmd {
	args := append(strings.Fields(c.args), c.argv...)
	if c.program == "phone" {
		args = append(args, "--state", "phone-state")
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin, c.program), args...)
	cmd.Dir, cmd.Stdin = h.dir, strings.NewReader(c.stdin)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(pair string) bool { return strings.HasPrefix(pair, "LATCHKEY_") }), "LATCHKEY_DATA="+serverFolder)
	cmd.Env = append(append(cmd.Env, h.env...), c.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // nothing outlives the test
	return cmd
}

// must runs what has to work and returns what it printed.
func (h *house) must(stdin, program string, args ...string) string {
	h.t.Helper()
	r := h.run(call{program: program, argv: args, stdin: stdin})
	if r.code != 0 {
		h.t.Fatalf("%s %q ended with %d: %s", program, args, r.code, r.err)
	}
	return r.out
}

// tree is every file of the house with mode and content.
func (h *house) tree() map[string]string {
	h.t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(h.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		content := []byte(nil)
		if info.Mode().IsRegular() {
			content, err = os.ReadFile(path)
		}
		name, _ := filepath.Rel(h.dir, path)
		all[name] = fmt.Sprintf("%v %x", info.Mode(), sha256.Sum256(content))
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return all
}

// records is what the server knows, for while it runs and its files move.
func (h *house) records() string {
	h.t.Helper()
	return h.must("", "latchkey", "device", "list", "--json") + h.must("", "latchkey", "grant", "list", "--json")
}

// refused wants a call to fail with one line that says each of the texts, and to leave every file as it was.
func (h *house) refused(c call, says ...string) {
	h.t.Helper()
	before := h.tree()
	r := h.run(c)
	complains(h.t, r, c.program, says...)
	if after := h.tree(); !maps.Equal(before, after) {
		h.t.Errorf("%s %s changed %v", c.program, c.args, difference(before, after))
	}
}

// complains checks how an error is told.
func complains(t *testing.T, r result, program string, says ...string) {
	t.Helper()
	if r.code != 1 {
		t.Errorf("ended with %d, want 1; it printed %q", r.code, r.out)
	}
	if r.out != "" {
		t.Errorf("standard output has %q, want nothing", r.out)
	}
	line, rest, _ := strings.Cut(r.err, "\n")
	if !strings.HasPrefix(line, program+": ") || rest != "" {
		t.Errorf("standard error has %q, want one line", r.err)
	}
	for _, text := range says {
		if !strings.Contains(r.err, text) {
			t.Errorf("standard error has %q, want %q in it", r.err, text)
		}
	}
	for _, trace := range []string{"panic", "goroutine", ".go:"} {
		if strings.Contains(r.err, trace) {
			t.Errorf("standard error has a stack trace: %s", r.err)
		}
	}
}

func difference(before, after map[string]string) []string {
	var names []string
	for name := range after {
		if before[name] != after[name] {
			names = append(names, name)
		}
	}
	for name := range before {
		if _, ok := after[name]; !ok {
			names = append(names, "- "+name)
		}
	}
	return names
}
