package cli_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// programs are what has --help.
var programs = []string{"latchkey", "doorlock", "healthmonitor", "phone"}

// help is one --help page.
type help struct {
	path string // latchkey device add
	text string
}

// helps walks every command that --help lists.
func (h *house) helps() []help {
	h.t.Helper()
	var all []help
	todo := slices.Clone(programs)
	for len(todo) > 0 {
		path := todo[0]
		todo = todo[1:]
		words := strings.Fields(path)
		text := h.must("", words[0], append(words[1:], "--help")...)
		all = append(all, help{path, text})
		for _, name := range listed(text) {
			todo = append(todo, path+" "+name)
		}
	}
	return all
}

// listed are the commands below "Available Commands:"; help is the library's own.
func listed(text string) []string {
	_, below, found := strings.Cut(text, "Available Commands:\n")
	if !found {
		return nil
	}
	var names []string
	for line := range strings.Lines(below) {
		if words := strings.Fields(line); len(words) > 0 && strings.HasPrefix(line, "  ") {
			if words[0] != "help" {
				names = append(names, words[0])
			}
			continue
		}
		break
	}
	return names
}

func TestEveryCommandExplainsItself(t *testing.T) {
	h := &house{t: t, dir: t.TempDir()}
	all := h.helps()
	if len(all) < 26 {
		t.Errorf("found %d commands, want 26 and more", len(all))
	}
	for _, page := range all {
		_, below, found := strings.Cut(page.text, "Examples:\n")
		if !found {
			t.Errorf("%s --help has no example", page.path)
			continue
		}
		example, _, _ := strings.Cut(below, "\n\n")
		if !strings.Contains(example, page.path) {
			t.Errorf("%s --help has an example of something else: %s", page.path, example)
		}
		if !strings.Contains(page.text, "--json") {
			t.Errorf("%s --help offers no --json", page.path)
		}
	}
}

// TestHelpPromisesNothingElse: what is not there is not offered.
func TestHelpPromisesNothingElse(t *testing.T) {
	h := &house{t: t, dir: t.TempDir()}
	for _, page := range h.helps() {
		if strings.Contains(page.text, "--remote") {
			t.Errorf("%s --help speaks of --remote", page.path)
		}
	}
}

// TestJSON asks every command of the server's tool that answers for JSON. The others print events or pages and are
// asked in their own tests.
func TestJSON(t *testing.T) {
	h := newHouse(t)
	grant := h.firstGrant()
	for _, args := range []string{
		"init --data other",
		"user add bob --password-stdin",
		"client add app",
		"client add app2 --public --redirect-uri app.example:/done",
		"device add side-door --owner alice --kind lock --action unlock=/door/unlock:POST --out side-door.lkp",
		"device list",
		"grant add --owner alice --to-client gateway --device front-door --allow unlock",
		"grant list",
		"grant list --owner nobody",
		"grant show " + grant,
		"grant revoke " + grant,
		"audit tail",
		"backup key --out backup.key",
		"backup --out monday.age --passphrase-stdin",
		"restore monday.age --passphrase-stdin --data restored",
		"recover --data restored",
		"recover --data restored",
		"migrate --check",
		"migrate",
		"audit tail --data other",
		"audit tail --event grant.add --since 1h",
		"audit verify --head",
		"user suspend mum",
		"user resume mum",
		"client suspend gateway --end",
		"device suspend front-door --reason broken",
		"grant suspend " + grant,
		"grant resume " + grant,
		"client invite",
		"client invitations",
		"config validate",
		"config explain",
		"doctor",
		"device list --data other",
	} {
		r := h.run(call{program: "latchkey", args: args + " --json", stdin: "bob's long password"})
		if r.code != 0 || r.err != "" {
			t.Errorf("%s --json ended with %d: %s", args, r.code, r.err)
		}
		if n, err := values(r.out); err != nil || n != 1 {
			t.Errorf("%s --json printed %d values (%v): %s", args, n, err, r.out)
		}
	}
}

// values counts the JSON values in a text.
func values(text string) (n int, err error) {
	for d := json.NewDecoder(strings.NewReader(text)); ; n++ {
		var v any
		if err := d.Decode(&v); errors.Is(err, io.EOF) {
			return n, nil
		} else if err != nil {
			return n, err
		}
	}
}

func (h *house) firstGrant() string {
	h.t.Helper()
	var grants []struct{ Grant string }
	if err := json.Unmarshal([]byte(h.must("", "latchkey", "grant", "list", "--json")), &grants); err != nil || len(grants) == 0 {
		h.t.Fatalf("no grant: %v", err)
	}
	return grants[0].Grant
}

// TestExamplesWork runs the examples of the commands that need no server, as a reader would paste them.
func TestExamplesWork(t *testing.T) {
	h := &house{t: t, dir: t.TempDir()}
	h.write("password.txt", alicePassword+"\n")
	h.write("backend.jwks", publicKeys)
	h.write("secret.txt", "gL5-8tGXw2pQ0vZk3mRnB7yHcJfU1aSeD4iTo9WxKqE\n")
	pages := map[string]string{}
	for _, page := range h.helps() {
		pages[page.path] = page.text
	}
	order := []string{"init", "user add", "client add", "client invite", "client invitations", "device add", "device list", "grant add", "grant list", "audit tail", "config validate", "config explain", "doctor"}
	for _, path := range order {
		_, below, _ := strings.Cut(pages["latchkey "+path], "Examples:\n")
		examples, _, _ := strings.Cut(below, "\n\n")
		for line := range strings.Lines(examples) {
			h.shell(strings.TrimSpace(line))
		}
		if path == "user add" {
			h.shell("latchkey user add mum --password-stdin < password.txt")
			h.shell("latchkey user add carol --password-stdin < password.txt")
		}
	}
	h.start(call{program: "doorlock", args: "--provision front-door.lkp --state lock-state"}, "listening")
	h.start(call{program: "doorlock", args: "--provision back-door.lkp --state back-door-state"}, "DTLS")
	h.start(call{program: "healthmonitor", args: "--provision monitor.lkp --link unix:monitor.sock --state monitor-state"}, "listening")
}

// shell runs one line as a person would, on the folder ./data.
func (h *house) shell(line string) {
	h.t.Helper()
	cmd := exec.CommandContext(h.t.Context(), "sh", "-c", line)
	cmd.Dir = h.dir
	cmd.Env = []string{"PATH=" + bin + ":/usr/bin:/bin", "LATCHKEY_DATA=./data"}
	if out, err := cmd.CombinedOutput(); err != nil {
		h.t.Errorf("%s\n%v: %s", line, err, out)
	}
}
