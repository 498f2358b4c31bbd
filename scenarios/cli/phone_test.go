package cli_test

import (
	"encoding/json"
	"maps"
	"net"
	"os"
	"strings"
	"testing"
)

// street is a house in which the server and the lock run.
type street struct {
	*house
	issuer string
	http   string
	coap   string
	lock   *process
	at     string // where the lock listens
}

func newStreet(t *testing.T) *street {
	t.Helper()
	s := &street{house: newHouse(t), at: freePort(t, "udp")}
	_, s.http, s.coap = s.serve("")
	_, port, err := net.SplitHostPort(s.http)
	if err != nil {
		t.Fatal(err)
	}
	s.issuer = "http://localhost:" + port
	s.lock = s.start(call{program: "doorlock", args: "--json --provision front-door.lkp --state lock-state --listen " + s.at}, `"event":"registered"`)
	return s
}

// login is what a good login says; rows change one thing.
func (s *street) login(more string) string {
	return "login --issuer " + s.issuer + " --user mum --password-stdin " + more
}

// sessions are the phone's files.
func (s *street) sessions() map[string]string {
	all := s.tree()
	maps.DeleteFunc(all, func(name, _ string) bool { return !strings.HasPrefix(name, "phone-state") })
	return all
}

// TestPhoneRefuses: nothing the phone is asked wrongly changes its sessions, the server's records or the door.
func TestPhoneRefuses(t *testing.T) {
	s := newStreet(t)
	const door = "--device front-door"
	s.must(mumPassword, "phone", strings.Fields(s.login(door+" --session waiting"))...)
	s.must(mumPassword, "phone", strings.Fields(s.login(door+" --session redeemed"))...)
	s.must("", "phone", "token", "--session", "redeemed", "--no-upload")
	s.must("", "phone", "token", "--session", "waiting", "--no-upload")
	s.must(mumPassword, "phone", strings.Fields(s.login(door+" --session shared"))...)
	s.chmod("phone-state/shared.json", 0o640)
	s.must(mumPassword, "phone", strings.Fields(s.login(door+" --session fresh"))...)
	s.write("phone-state/damaged.json", "{")
	s.must(mumPassword, "phone", strings.Fields(s.login(door+" --session delivered"))...)
	s.must("", "phone", "token", "--session", "delivered")
	nobody := freePort(t, "tcp")
	client := "token --client-secret-stdin --session app --issuer " + s.issuer + " --client gateway --device front-door"

	rows := []struct {
		name, args, stdin string
		says              []string
	}{
		{name: "login: no server", args: "login " + door, says: []string{"--issuer URL"}},
		{name: "login: no device", args: s.login(""), stdin: mumPassword, says: []string{"--device NAME"}},
		{name: "login: a server without TLS elsewhere", args: "login --issuer http://home.example " + door, says: []string{"home.example", "https"}},
		{name: "login: nobody answers", args: "login --issuer http://" + nobody + " --user mum --password-stdin " + door, stdin: mumPassword, says: []string{nobody, "connection refused"}},
		{name: "login: a person without --password-stdin", args: "login --user mum --issuer " + s.issuer + " " + door, says: []string{"--password-stdin"}},
		{name: "login: wrong password", args: s.login(door), stdin: "not her password", says: []string{"name and password"}},
		{name: "login: unknown person", args: strings.Replace(s.login(door), "mum", "nobody", 1), stdin: mumPassword, says: []string{"name and password"}},
		{name: "login: unknown device", args: s.login("--device barn"), stdin: mumPassword, says: []string{`"barn"`, "unknown audience"}},
		{name: "login: unknown app", args: s.login(door + " --client nobody"), stdin: mumPassword, says: []string{"not registered"}},
		{name: "login: a redirect that is not registered", args: s.login(door + " --redirect-uri http://127.0.0.1/other"), stdin: mumPassword, says: []string{"did not register the address"}},
		{name: "login: an action the device has not", args: s.login(door + " --scope fly"), stdin: mumPassword, says: []string{"invalid_scope", "no such action"}},
		{name: "login: more than was granted", args: s.login(door + " --scope view"), stdin: mumPassword, says: []string{"invalid_scope", "more than was granted"}},
		{name: "login: a session in another folder", args: s.login(door + " --session ../x"), stdin: mumPassword, says: []string{`"../x"`, "letters"}},
		{name: "token: no session", args: "token --session nothing", says: []string{`"nothing"`, "phone login"}},
		{name: "token: a login that was redeemed", args: "token --session redeemed", says: []string{"redeemed", "phone login again"}},
		{name: "token: a session that others can read", args: "token --session shared", says: []string{"shared.json", "chmod 600"}},
		{name: "token: a damaged session", args: "token --session damaged", says: []string{"damaged.json", "log in again"}},
		{name: "token: a wrong secret", args: client, stdin: "not its secret", says: []string{"invalid_client"}},
		{name: "token: no secret", args: client, says: []string{"secret", "empty"}},
		{name: "token: a secret for no app", args: "token --client-secret-stdin", stdin: "secret", says: []string{"--issuer URL", "--client ID", "--device NAME"}},
		{name: "deliver: no token yet", args: "deliver --session fresh", says: []string{"no token yet", "phone token"}},
		{name: "get: no session", args: "get /door --session nothing", says: []string{`"nothing"`, "phone login"}},
		{name: "get: no token yet", args: "get /door --session fresh", says: []string{"no token yet", "phone token"}},
		{name: "get: a token that no device has seen", args: "get /door --session waiting --to coap://" + s.at, says: []string{"no device has accepted", "phone deliver"}},
		{name: "get: a path without /", args: "get door", says: []string{`"door"`, "/door"}},
		{name: "get: no path", args: "get", says: []string{"missing", "phone get PATH"}},
		{name: "get: DTLS to a lock that speaks OSCORE", args: "get /door --session delivered --to coaps://" + s.at, says: []string{`"coaps://` + s.at + `"`, "coap://ADDRESS:PORT"}},
		{name: "deliver: no address", args: "deliver --session waiting --to door", says: []string{`"door"`, "coap://ADDRESS:PORT"}},
		{name: "deliver: a radio that is not there", args: "deliver --session waiting --to gatt:nothing.sock", says: []string{"nothing.sock"}},
		{name: "an unknown flag", args: "get /door --bogus", says: []string{"--bogus", "phone get --help"}},
		{name: "an unknown command", args: "unlock", says: []string{`"unlock"`, "post"}},
	}
	records := s.records()
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			h := within(s.house, t)
			before := s.sessions()
			complains(t, h.run(call{program: "phone", args: row.args, stdin: row.stdin}), "phone", row.says...)
			if after := s.sessions(); !maps.Equal(before, after) {
				t.Errorf("the phone's files changed: %v", difference(before, after))
			}
		})
	}
	if after := s.records(); after != records {
		t.Errorf("the server's records changed from\n%s to\n%s", records, after)
	}
	if strings.Contains(s.lock.out.String(), `"bolt"`) {
		t.Error("the bolt moved")
	}
}

// TestPhoneAnswers in JSON, what it may and what it may not.
func TestPhoneAnswers(t *testing.T) {
	s := newStreet(t)
	to := " --to coap://" + s.at
	for _, step := range []struct {
		args string
		code int
		want map[string]any // members of the answer
	}{
		{s.login("--device front-door"), 0, map[string]any{"session": "default"}},
		{"token", 0, map[string]any{"uploaded": true, "scope": "unlock"}},
		{"post /door/unlock" + to, 0, map[string]any{"code": "Changed", "text": "bolt open"}},
		{"get /door" + to, 1, map[string]any{"code": "Forbidden"}},
	} {
		r := s.run(call{program: "phone", args: step.args + " --json", stdin: mumPassword})
		var got map[string]any
		if err := json.Unmarshal([]byte(r.out), &got); err != nil || r.code != step.code {
			t.Fatalf("%s ended with %d: %q %s", step.args, r.code, r.out, r.err)
		}
		for name, want := range step.want {
			if got[name] != want {
				t.Errorf("%s: %s is %v, want %v", step.args, name, got[name], want)
			}
		}
	}
	info, err := os.Stat(s.path("phone-state", "default.json"))
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("the session has mode %v (%v), want -rw-------", info.Mode(), err)
	}
}

// TestPhoneRefusesOverDTLS: what a lock of coap_dtls cannot be asked changes nothing and says the fix.
func TestPhoneRefusesOverDTLS(t *testing.T) {
	h := newHouse(t)
	_, http, _ := h.serve("")
	_, port, err := net.SplitHostPort(http)
	if err != nil {
		t.Fatal(err)
	}
	h.must("", "latchkey", "device", "add", "back-door", "--owner", "alice", "--kind", "lock", "--profile", "coap_dtls", "--out", "back-door.lkp",
		"--action", "unlock=/door/unlock:POST")
	h.must("", "latchkey", "grant", "add", "--owner", "alice", "--to", "mum", "--device", "back-door", "--allow", "unlock", "--until", "4h")
	at, secure := freePort(t, "udp"), freePort(t, "udp")
	lock := h.start(call{program: "doorlock", args: "--json --provision back-door.lkp --listen " + at + " --listen-dtls " + secure}, `"event":"registered"`)
	token := func(session string, flags ...string) {
		h.must(mumPassword, "phone", "login", "--issuer", "http://localhost:"+port, "--device", "back-door", "--session", session, "--user", "mum", "--password-stdin")
		h.must("", "phone", append([]string{"token", "--session", session}, flags...)...)
	}
	token("delivered")
	token("held", "--no-upload")
	rows := []struct {
		name, args string
		says       []string
	}{
		{name: "an address without DTLS", args: "post /door/unlock --session delivered --to coap://" + secure, says: []string{"coap_dtls", "coaps://ADDRESS:PORT"}},
		{name: "a radio", args: "post /door/unlock --session delivered --to gatt:m.sock", says: []string{"coap_dtls", "coaps://ADDRESS:PORT"}},
		{name: "no address at all", args: "post /door/unlock --session delivered --to coaps://", says: []string{"coap_dtls", "coaps://ADDRESS:PORT"}},
		{name: "deliver: a token that the server delivered", args: "deliver --session delivered", says: []string{"nothing to show"}},
		{name: "deliver: the same, bare", args: "deliver --session delivered --to coap://" + at, says: []string{"nothing to show"}},
		{name: "deliver: no address", args: "deliver --session held --to door", says: []string{`"door"`, "coap://ADDRESS:PORT"}},
		{name: "deliver: no DTLS address", args: "deliver --session held --to coaps://door", says: []string{"coaps://door", "coaps://ADDRESS:PORT"}},
		{name: "a right that was not granted", args: "get /door --session delivered", says: []string{"Forbidden"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			h := within(h, t)
			s := street{house: h}
			before := s.sessions()
			complains(t, h.run(call{program: "phone", args: row.args}), "phone", row.says...)
			if after := s.sessions(); !maps.Equal(before, after) {
				t.Errorf("the phone's files changed: %v", difference(before, after))
			}
		})
	}
	if strings.Contains(lock.out.String(), `"bolt"`) {
		t.Error("the bolt moved")
	}
	h.must("", "phone", "post", "/door/unlock", "--session", "held") // with the token, at the address that the server named
}
