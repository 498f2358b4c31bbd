package cli_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDeviceProgramsRefuse gives the devices provisioning files, radios and folders that they must not take.
func TestDeviceProgramsRefuse(t *testing.T) {
	h := newHouse(t)
	h.must("", "latchkey", "device", "add", "old-monitor", "--owner", "alice", "--token", "jwt", "--out", "jwt.lkp", "--action", "view=/measurements:GET")
	h.write("shared.lkp", h.read("front-door.lkp"))
	h.chmod("shared.lkp", 0o644)
	h.write("group.lkp", h.read("front-door.lkp"))
	h.chmod("group.lkp", 0o640)
	h.write("short.lkp", h.read("front-door.lkp")[:100])
	h.write("long.lkp", h.read("front-door.lkp")+"\x00")
	h.write("empty.lkp", "")
	h.write("secrets.txt", "not a provisioning file\n")
	if err := os.Symlink("front-door.lkp", h.path("link.lkp")); err != nil {
		t.Fatal(err)
	}
	h.write("attester.jwks", publicKeys)
	h.write("secret.jwks", `{"keys":[{"kty":"oct","kid":"1","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}`)
	h.write("empty.jwks", `{"keys":[]}`)
	rows := []struct {
		name, program, args string
		says                []string
	}{
		{name: "a lock without a file", program: "doorlock", says: []string{"--provision FILE"}},
		{name: "a lock with a file that is not there", program: "doorlock", args: "--provision nothing.lkp", says: []string{"nothing.lkp", "no such file"}},
		{name: "a lock with a file that everybody can read", program: "doorlock", args: "--provision shared.lkp", says: []string{"shared.lkp", "chmod 600"}},
		{name: "a lock with a file that the group can read", program: "doorlock", args: "--provision group.lkp", says: []string{"group.lkp", "chmod 600"}},
		{name: "a lock with a link in the file's place", program: "doorlock", args: "--provision link.lkp", says: []string{"link.lkp", "symbolic link"}},
		{name: "a lock with half a file", program: "doorlock", args: "--provision short.lkp", says: []string{"short.lkp", "damaged", "latchkey device add"}},
		{name: "a lock with a byte too many", program: "doorlock", args: "--provision long.lkp", says: []string{"long.lkp", "damaged", "latchkey device add"}},
		{name: "a lock with an empty file", program: "doorlock", args: "--provision empty.lkp", says: []string{"empty.lkp", "damaged", "latchkey device add"}},
		{name: "a lock with another file", program: "doorlock", args: "--provision secrets.txt", says: []string{"secrets.txt", "damaged", "latchkey device add"}},
		{name: "a lock that should take JWTs", program: "doorlock", args: "--provision jwt.lkp", says: []string{"jwt.lkp", "--token encrypt0"}},
		{name: "a lock with a registration of no length", program: "doorlock", args: "--provision front-door.lkp --lifetime 0s", says: []string{"--lifetime", "1s"}},
		{name: "a lock of OSCORE that should hear DTLS", program: "doorlock", args: "--provision front-door.lkp --listen-dtls 127.0.0.1:0", says: []string{"--listen-dtls", "coap_oscore", "--profile coap_dtls"}},
		{name: "a lock that believes nobody", program: "doorlock", args: "--provision front-door.lkp --vouched unlock", says: []string{"--vouched", "--attester-keys FILE"}},
		{name: "a lock that asks for nothing", program: "doorlock", args: "--provision front-door.lkp --attester-keys attester.jwks", says: []string{"--attester-keys", "--vouched"}},
		{name: "a lock with keys that are not there", program: "doorlock", args: "--provision front-door.lkp --vouched unlock --attester-keys nothing.jwks", says: []string{"nothing.jwks", "no such file"}},
		{name: "a lock with keys that are none", program: "doorlock", args: "--provision front-door.lkp --vouched unlock --attester-keys secrets.txt", says: []string{"secrets.txt", "JWK Set"}},
		{name: "a lock with a shared secret", program: "doorlock", args: "--provision front-door.lkp --vouched unlock --attester-keys secret.jwks", says: []string{"secret.jwks", "public keys", "secret would stand in clear"}},
		{name: "a lock with no keys", program: "doorlock", args: "--provision front-door.lkp --vouched unlock --attester-keys empty.jwks", says: []string{"empty.jwks", "no public key"}},
		{name: "a lock with an argument", program: "doorlock", args: "front-door.lkp", says: []string{"no arguments", "doorlock --help"}},
		{name: "a lock with an unknown flag", program: "doorlock", args: "--provison front-door.lkp", says: []string{"--provison", "doorlock --help"}},
		{name: "a monitor without a file", program: "healthmonitor", args: "--link unix:m.sock", says: []string{"--provision FILE"}},
		{name: "a monitor without a radio", program: "healthmonitor", args: "--provision monitor.lkp", says: []string{"--link unix:PATH"}},
		{name: "a monitor with an unknown radio", program: "healthmonitor", args: "--provision monitor.lkp --link hci0", says: []string{"--link unix:PATH"}},
		{name: "a monitor with a file that everybody can read", program: "healthmonitor", args: "--provision shared.lkp --link unix:m.sock", says: []string{"shared.lkp", "chmod 600"}},
		{name: "a monitor with half a file", program: "healthmonitor", args: "--provision short.lkp --link unix:m.sock", says: []string{"short.lkp", "damaged", "latchkey device add"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			within(h, t).refused(call{program: row.program, args: row.args}, row.says...)
		})
	}
}

// TestDeviceProgramsStop: these see what is wrong only after they have opened their state folder.
func TestDeviceProgramsStop(t *testing.T) {
	h := newHouse(t)
	h.write("attester.jwks", publicKeys)
	h.must("", "latchkey", "device", "add", "robot", "--owner", "alice", "--out", "robot.lkp", "--action", "fly=/sky:POST")
	h.must("", "latchkey", "device", "add", "secure", "--owner", "alice", "--out", "secure.lkp", "--profile", "coap_dtls", "--action", "view=/door:GET")
	for _, row := range []struct {
		name, program, args string
		says                []string
	}{
		{name: "a lock that should fly", program: "doorlock", args: "--provision robot.lkp", says: []string{"cannot fly", "view, unlock, lock and disarm"}},
		{name: "a lock that wants to see who flies", program: "doorlock", args: "--provision front-door.lkp --vouched fly --attester-keys attester.jwks", says: []string{`"fly"`, "not in the device's record"}},
		{name: "a lock on no address", program: "doorlock", args: "--provision front-door.lkp --listen everywhere", says: []string{"--listen everywhere"}},
		{name: "a lock on the last port, with DTLS on the next", program: "doorlock", args: "--provision secure.lkp --listen 127.0.0.1:65535", says: []string{"65535", "--listen-dtls"}},
		{name: "a lock on no address for DTLS", program: "doorlock", args: "--provision secure.lkp --listen-dtls everywhere", says: []string{"--listen-dtls everywhere"}},
		{name: "a monitor that should unlock", program: "healthmonitor", args: "--provision front-door.lkp --link unix:m.sock", says: []string{"cannot unlock", "view and configure"}},
		{name: "a monitor where a file lies", program: "healthmonitor", args: "--provision monitor.lkp --link unix:monitor.lkp", says: []string{"monitor.lkp", "not a socket"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			complains(t, within(h, t).run(call{program: row.program, args: row.args}), row.program, row.says...)
		})
	}
}

// TestWrongByte flips one bit of the provisioning file at a time, all over it.
func TestWrongByte(t *testing.T) {
	h := newHouse(t)
	for program, file := range map[string]string{"doorlock": "front-door.lkp", "healthmonitor": "monitor.lkp"} {
		good := h.read(file)
		for i := 0; i < len(good); i += 8 {
			bad := []byte(good)
			bad[i] ^= 1 << (i / 8 % 8)
			h.write("bad.lkp", string(bad))
			c := call{program: program, args: "--provision bad.lkp"}
			if program == "healthmonitor" {
				c.args += " --link unix:m.sock"
			}
			r := h.run(c)
			if r.code != 1 || !strings.Contains(r.err, "bad.lkp") || !strings.Contains(r.err, "latchkey device add") {
				t.Errorf("%s with byte %d of %d changed: %d %q", program, i, len(good), r.code, r.err)
			}
			if _, err := os.Stat(h.path(program + "-state")); err == nil {
				t.Fatalf("%s made its state folder from a damaged file", program)
			}
		}
	}
}

// TestState looks at the folder that a device keeps.
func TestState(t *testing.T) {
	h := newHouse(t)
	lock := call{program: "doorlock", args: "--provision front-door.lkp --state lock-state"}
	first := h.start(lock, "listening")
	t.Run("a second lock on the same folder is refused", func(t *testing.T) {
		h := within(h, t)
		h.refused(lock, "lock-state", "in use by another process")
		if !first.running() {
			t.Error("the first lock has ended")
		}
	})
	if code := first.terminate(); code != 0 {
		t.Errorf("the lock ended with %d after SIGTERM: %s", code, first.err.String())
	}
	t.Run("a folder open to others is refused", func(t *testing.T) {
		h := within(h, t)
		h.chmod("lock-state", 0o755)
		h.refused(lock, "lock-state", "chmod 700")
		h.chmod("lock-state", 0o700)
	})
	t.Run("a damaged state is refused and never reset", func(t *testing.T) {
		h := within(h, t)
		h.write("lock-state/state", "latchkey device state 1\n00\n{}")
		h.refused(lock, "lock-state/state", "damaged", "restore it from a copy")
	})
	t.Run("every file in it is for its owner alone", func(t *testing.T) {
		h := within(h, t)
		modes(t, h.path("lock-state"))
		modes(t, h.path(serverFolder))
	})
}

func modes(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			err = fmt.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestNobodyReads closes a device's output: it goes on.
func TestNobodyReads(t *testing.T) {
	h := newHouse(t)
	for program, args := range map[string]string{
		"doorlock":      "--provision front-door.lkp --state lock-state --json",
		"healthmonitor": "--provision monitor.lkp --state monitor-state --link unix:m.sock",
	} {
		t.Run(program, func(t *testing.T) {
			cmd := within(h, t).command(t.Context(), call{program: program, args: args})
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			_ = r.Close() // nobody will read
			cmd.Stdout = w
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			_ = w.Close() // the process has its own
			time.Sleep(300 * time.Millisecond)
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatalf("it has ended: %v", err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("it ended badly: %v", err)
			}
		})
	}
}

func (h *house) read(name string) string {
	h.t.Helper()
	data, err := os.ReadFile(h.path(name))
	if err != nil {
		h.t.Fatal(err)
	}
	return string(data)
}

// TestEventsAreJSON: what a device prints with --json is one JSON value a line.
func TestEventsAreJSON(t *testing.T) {
	h := newHouse(t)
	p := h.start(call{program: "doorlock", args: "--provision front-door.lkp --json"}, `"event":"listening"`)
	m := h.start(call{program: "healthmonitor", args: "--provision monitor.lkp --link unix:m.sock --json"}, `"event":"listening"`)
	for _, p := range []*process{p, m} {
		if n, err := values(p.out.String()); err != nil || n == 0 {
			t.Errorf("%d values (%v): %s", n, err, p.out.String())
		}
	}
}
