package backup_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/scenarios/stage"
	"github.com/latchkey-ace/latchkey/storage/storagetest/pgtest"
)

// next is the folder of the release after this one: a test-only build that knows one migration more.
var next = sync.OnceValues(func() (string, error) {
	return nextBin, stage.Build(nextBin, "next_schema")
})

func nextPrograms(t *testing.T) string {
	t.Helper()
	dir, err := next()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// node is one server of several on one database.
type node struct {
	*stage.Stage
	t *testing.T
}

// twin is another node on the same database: the same configuration and store key, other ports.
func (n *node) twin(bin string) *node {
	n.t.Helper()
	s := &stage.Stage{Options: stage.Options{Bin: bin, Dir: n.t.TempDir(), Out: n.t.Output()}}
	var err error
	if s.HTTP, err = stage.FreePort("tcp"); err == nil {
		s.CoAP, err = stage.FreePort("udp")
	}
	n.must(err)
	n.t.Cleanup(s.Close)
	n.must(os.Mkdir(s.Path("server"), 0o700))
	key, err := os.ReadFile(n.Path("server", "store.key"))
	n.must(err)
	n.must(os.WriteFile(s.Path("server", "store.key"), key, 0o600))
	config := fmt.Sprintf("issuer = %q\nhttp = %q\ncoap = %q\ndb = %q\nlimits = false\n", n.Issuer(), s.HTTP, s.CoAP, n.DB)
	n.must(os.WriteFile(s.Path("server", "latchkey.toml"), []byte(config), 0o600))
	return &node{s, n.t}
}

func (n *node) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

// give asks for a token as the gateway.
func (n *node) give(secret string) error {
	response, err := http.PostForm("http://"+n.HTTP+"/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {"gateway"},
		"client_secret": {secret}, "audience": {"front-door"}})
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("token: %s", response.Status)
	}
	return nil
}

func (n *node) version(args ...string) string {
	n.t.Helper()
	out, err := n.Latchkey(n.t.Context(), "", append([]string{"migrate", "--check", "--json"}, args...)...)
	n.must(err)
	return strings.TrimSpace(out)
}

func firstNode(t *testing.T, db string) (n *node, secret string) {
	t.Helper()
	s, err := stage.New(t.Context(), stage.Options{Bin: bin, Dir: t.TempDir(), Out: t.Output(), DB: db})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	n = &node{s, t}
	n.must(s.AddUser(t.Context(), "alice", "alice's long password"))
	var made struct{ Secret string }
	n.must(s.LatchkeyJSON(t.Context(), &made, "client", "add", "gateway"))
	n.must(s.AddDevice(t.Context(), "front-door", "alice", []string{"view=/door:GET"}, "--kind", "lock"))
	_, err = s.Latchkey(t.Context(), "", "grant", "add", "--owner", "alice", "--to-client", "gateway", "--device", "front-door", "--allow", "view")
	n.must(err)
	config, err := os.ReadFile(s.Path("server", "latchkey.toml"))
	n.must(err)
	n.must(os.WriteFile(s.Path("server", "latchkey.toml"), append([]byte("limits = false\n"), config...), 0o600)) // the load is meant
	n.must(s.StartServer())
	return n, made.Secret
}

// load asks a node for tokens until stopped, and tells how many it gave; a refusal fails the test.
func (n *node) load(secret string) (stop func() int) {
	end, done := make(chan struct{}), make(chan int)
	go func() {
		given := 0
		for {
			select {
			case <-end:
				done <- given
				return
			default:
			}
			if err := n.give(secret); err != nil {
				n.t.Errorf("while the other node was upgraded: %v", err)
			}
			given++
		}
	}()
	return func() int { close(end); return <-done }
}

// F17: two nodes on one PostgreSQL go to the next release one after the other, and requests go on; the tables follow when
// nobody older is connected. There is no way back but a backup.
func TestRollingUpgrade(t *testing.T) {
	programs := nextPrograms(t)
	old, secret := firstNode(t, pgtest.Start(t))
	before := old.version()
	for range 3 { // the first of two comes and goes
		stop := old.load(secret)
		newer := old.twin(programs)
		newer.must(newer.StartServer())
		newer.must(newer.give(secret))
		_, err := newer.Latchkey(t.Context(), "", "migrate")
		if err == nil || !strings.Contains(err.Error(), "is connected") {
			t.Errorf("migrated beneath an older program: %v", err)
		}
		newer.Server().Stop()
		if given := stop(); given == 0 {
			t.Error("nothing was asked meanwhile")
		}
		if now := old.version(); now != before {
			t.Fatalf("the tables are of %s, were of %s", now, before)
		}
	}
	newer := old.twin(programs)
	newer.must(newer.StartServer())
	stop := newer.load(secret)
	old.Server().Stop()
	second := old.twin(programs) // takes the place of the old one
	second.must(second.StartServer())
	second.must(second.give(secret))
	stop()
	var s struct{ Version, Newest int64 }
	newer.must(json.Unmarshal([]byte(newer.version()), &s))
	if s.Version != 99001 || s.Newest != s.Version {
		t.Errorf("the tables are of version %d of %d", s.Version, s.Newest)
	}
	refusedByName(t, old)
}

// refusedByName: an older program names the versions and says what to do, whatever it is asked.
func refusedByName(t *testing.T, old *node) {
	t.Helper()
	for _, args := range []string{"serve", "device list", "migrate", "backup --out x.age --passphrase-stdin", "recover"} {
		_, err := old.Latchkey(t.Context(), "a long passphrase", strings.Fields(args)...)
		if args == "migrate" && err == nil {
			t.Errorf("%s: went through", args)
		}
		if err == nil || !strings.Contains(err.Error(), "version 99001") || !strings.Contains(err.Error(), "run the newer program") {
			t.Errorf("%s on newer tables: got %v", args, err)
		}
	}
}

// With the built-in store no command changes the tables beneath a running server; the next serve does.
func TestUpgradeOfTheBuiltInStore(t *testing.T) {
	programs := nextPrograms(t)
	old, secret := firstNode(t, "")
	before := old.version()
	newer := &node{&stage.Stage{Options: old.Options, HTTP: old.HTTP, CoAP: old.CoAP}, t}
	newer.Bin = programs
	_, err := newer.Latchkey(t.Context(), "", "device", "list")
	old.must(err)
	_, err = newer.Latchkey(t.Context(), "", "migrate")
	if err == nil || !strings.Contains(err.Error(), "another server runs") {
		t.Errorf("migrated beneath a running server: %v", err)
	}
	_, err = newer.Latchkey(t.Context(), "a long passphrase", "backup", "--out", old.Path("old.age"), "--passphrase-stdin")
	old.must(err)
	if now := old.version(); now != before {
		t.Fatalf("the tables are of %s, were of %s", now, before)
	}
	old.must(old.give(secret))
	old.Server().Stop()
	newer.must(newer.StartServer())
	t.Cleanup(newer.Close)
	newer.must(newer.give(secret))
	newer.Server().Stop()
	refusedByName(t, old)
	// And back: the backup of before, with the program of before.
	old.must(os.Rename(old.Path("server"), old.Path("next")))
	_, err = old.Latchkey(t.Context(), "a long passphrase", "restore", old.Path("old.age"), "--passphrase-stdin")
	old.must(err)
	_, err = old.Latchkey(t.Context(), "", "recover")
	old.must(err)
	old.must(old.StartServer())
	old.must(stage.Eventually(5*time.Second, func() bool { return old.give(secret) == nil }))
}
