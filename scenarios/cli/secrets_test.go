package cli_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/client"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/scenarios/doorlock"
	"github.com/latchkey-ace/latchkey/scenarios/medical"
	"github.com/latchkey-ace/latchkey/scenarios/stage"
)

// recorded makes programs that write down their arguments and then are the real ones. What they were given as arguments
// every user of the machine could have read.
func recorded(t *testing.T) (dir, log string) {
	t.Helper()
	dir = t.TempDir()
	log = filepath.Join(dir, "arguments.log")
	for _, program := range programs {
		script := fmt.Sprintf("#!/bin/sh\nprintf '%%s\\n' %s \"$*\" >> %s\nexec %s \"$@\"\n", program, log, filepath.Join(bin, program))
		if err := os.WriteFile(filepath.Join(dir, program), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return dir, log
}

// TestNoSecretIsShown plays both stories and looks for what a thief would want in the arguments of every process and in
// what the long-running programs print.
func TestNoSecretIsShown(t *testing.T) {
	programs, arguments := recorded(t)
	var told output
	s, err := stage.New(t.Context(), stage.Options{Bin: programs, Dir: t.TempDir(), Out: &told, Verbose: true, App: filepath.Join(bin, "phone")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	door, err := doorlock.New(s, pop.ProfileCoAPOSCORE)
	if err != nil {
		t.Fatal(err)
	}
	defer door.Close()
	play(t, door, doorlock.Steps)
	monitor := medical.New(s, "jwt")
	play(t, monitor, medical.Steps)
	gateway(t, s)

	s.TellMessages()
	secrets := secretsOf(t, s)
	for place, text := range map[string]string{
		"the arguments":              read(t, arguments),
		"the server's output":        s.Server().Output(),
		"the lock's output":          door.Lock().Output(),
		"the monitor's output":       monitor.Monitor().Output(),
		"the phones' words with -vv": told.String(),
	} {
		if text == "" && place != "the server's output" {
			t.Errorf("%s are empty: nothing was looked at", place)
		}
		for name, forms := range secrets {
			// A token is no secret from its bearer, who asked for it to be shown.
			if strings.HasPrefix(place, "the phones") && strings.Contains(name, "token") {
				continue
			}
			for _, form := range forms {
				if strings.Contains(text, form) {
					t.Errorf("%s show %s", place, name)
				}
			}
		}
	}
}

func play[T any](t *testing.T, story T, steps []stage.Step[T]) {
	t.Helper()
	for i, step := range steps {
		if err := step.Do(t.Context(), story); err != nil {
			t.Fatalf("step %d, %s: %v", i+1, step.Says, err)
		}
	}
}

// gateway is an app with a secret, which gets a token for itself.
func gateway(t *testing.T, s *stage.Stage) {
	t.Helper()
	out, err := s.Latchkey(t.Context(), "", "client", "add", "gateway", "--json")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.Path("gateway.json"), []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Latchkey(t.Context(), "", "grant", "add", "--owner", "alice", "--to-client", "gateway", "--device", "front-door", "--allow", "view"); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{gatewaySecret(t, s), "a wrong secret of the gateway"} {
		_, err = s.Phone(t.Context(), "gateway", secret, "token", "--client-secret-stdin", "--issuer", s.Issuer(), "--client", "gateway", "--device", "front-door", "--no-upload")
		if (err == nil) != (secret == gatewaySecret(t, s)) {
			t.Fatalf("the gateway's token: %v", err)
		}
	}
}

func gatewaySecret(t *testing.T, s *stage.Stage) string {
	t.Helper()
	var answer struct{ Secret string }
	if err := json.Unmarshal([]byte(read(t, s.Path("gateway.json"))), &answer); err != nil || answer.Secret == "" {
		t.Fatalf("no secret: %v", err)
	}
	return answer.Secret
}

// secretsOf gathers every secret of the stage in every way it could be written.
func secretsOf(t *testing.T, s *stage.Stage) map[string][]string {
	t.Helper()
	all := map[string][]string{
		"a password":                      {doorlock.AlicePassword, doorlock.MumPassword, medical.CarolPassword},
		"an app's secret, right or wrong": {gatewaySecret(t, s), "a wrong secret of the gateway"},
		"the store key":                   written([]byte(read(t, s.Path("server", "store.key")))),
	}
	for _, name := range []string{"front-door", "monitor"} {
		d, err := provision.Parse([]byte(read(t, s.Path(name+".lkp"))))
		if err != nil {
			t.Fatal(err)
		}
		all["the root key of "+name] = written(d.RootKey[:])
		if d.PrivateKey != nil {
			all["the private key of "+name] = written(d.PrivateKey.Bytes())
		}
	}
	files, err := filepath.Glob(s.Path("phone-*", "*.json"))
	if err != nil || len(files) != 4 {
		t.Fatalf("%d session files (%v), want 4", len(files), err)
	}
	for _, file := range files {
		var saved struct{ Session *client.Saved }
		if err := json.Unmarshal([]byte(read(t, file)), &saved); err != nil || saved.Session == nil {
			t.Fatalf("%s: no session (%v)", file, err)
		}
		all["the possession key in "+filepath.Base(file)] = written(saved.Session.Secret)
		if len(saved.Session.Token) > 0 {
			all["the token in "+filepath.Base(file)] = append(written(saved.Session.Token), string(saved.Session.Token))
		}
	}
	return all
}

// written are the ways in which programs write bytes.
func written(b []byte) []string {
	decimal := strings.Trim(fmt.Sprint(b), "[]")
	forms := []string{
		hex.EncodeToString(b), strings.ToUpper(hex.EncodeToString(b)), decimal, string(b),
		base64.RawURLEncoding.EncodeToString(b), base64.RawStdEncoding.EncodeToString(b), fmt.Sprintf("%q", b),
	}
	return slices.DeleteFunc(forms, func(f string) bool { return len(f) < 16 })
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestDemoInJSON: the whole demonstration, one value a step.
func TestDemoInJSON(t *testing.T) {
	h := &house{t: t, dir: t.TempDir()}
	r := h.run(call{program: "latchkey", args: "demo --json"})
	if r.code != 0 || r.err != "" {
		t.Errorf("ended with %d: %s", r.code, r.err)
	}
	n, err := values(r.out)
	if err != nil || n < 20 || bytes.Contains([]byte(r.out), []byte(`"error"`)) {
		t.Errorf("%d values (%v): %s", n, err, r.out)
	}
}
