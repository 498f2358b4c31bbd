package latchkey_test

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/latchkey-ace/latchkey"

// rule forbids packages under From (except those under Except) to import To. Deep rules look through other packages.
type rule struct {
	From   string
	Except []string
	To     []string
	Deep   bool
	Why    string
}

// The arrows of the house run down: cmd, scenarios → storage → authz | resource → pop.
var rules = []rule{
	{From: "pop", To: []string{"authz", "resource", "storage", "cmd", "scenarios", "migrations"}, Why: "pop is the ground: it stands on nothing of ours"},
	{From: "authz", To: []string{"resource", "storage", "cmd", "scenarios"}, Why: "the authorization server and the resource server meet in bytes, and storage implements what authz asks for"},
	{From: "resource", To: []string{"authz", "storage", "cmd", "scenarios"}, Why: "the resource server and the authorization server meet in bytes, and storage implements what resource asks for"},
	{From: "storage", To: []string{"cmd", "scenarios"}, Why: "storage does not know who wires it"},
	{From: "storage/device", To: []string{"authz"}, Deep: true, Why: "a device must not carry the authorization server"},
	{From: "=authz", To: []string{"authz/httpapi", "authz/coapapi", "authz/console", "authz/clientauth", "authz/grant", "authz/delivery"}, Why: "a root package never imports its faces"},
	{From: "=resource", To: []string{"resource/coapapi", "resource/gatt", "resource/jwt"}, Why: "a root package never imports its faces"},
	{From: "", Except: []string{"authz/grant"}, To: []string{"github.com/go-oauth2/oauth2"}, Why: "one door per library: go-oauth2 is behind authz/grant"},
	{From: "", Except: []string{"pop/jose"}, To: []string{"github.com/lestrrat-go/jwx"}, Why: "one door per library: jwx is behind pop/jose"},
	{From: "", Except: []string{"storage/postgres"}, To: []string{"github.com/jackc/pgx"}, Why: "one door per library: pgx is behind storage/postgres"},
	{From: "", Except: []string{"storage/backup"}, To: []string{"filippo.io/age"}, Why: "one door per library: age is behind storage/backup"},
	{From: "", Except: []string{"pop/coapsec/dtls", "scenarios/bench"}, To: []string{"github.com/pion/dtls"}, Why: "one door per library: pion/dtls is behind pop/coapsec/dtls, and a peer to be measured against"},
	{From: "", Except: []string{"pop/coapsec/gocoap"}, To: goCoAPTransports, Why: "one door per library: of go-coap we use messages and codes; its transports are behind pop/coapsec/gocoap"},
	{From: "", To: []string{"golang.org/x/oauth2"}, Why: "golang.org/x/oauth2 is a stranger that our tests meet; nothing is built on it"},
	{From: "", Except: []string{"cmd/latchkey/metrics"}, To: []string{"github.com/prometheus/client_golang"}, Why: "one door per library: Prometheus is behind cmd/latchkey/metrics"},
	{From: "resource", Except: []string{"resource/jwt", "resource/integrity"}, To: []string{"pop/jose"}, Deep: true, Why: "resource/jwt and resource/integrity are the rooms between resource and pop/jose"},
	{From: "cmd/doorlock", To: []string{"authz", "github.com/jackc/pgx", "github.com/go-oauth2/oauth2", "modernc.org/sqlite", "github.com/lestrrat-go/jwx"}, Deep: true, Why: "a lock carries neither the authorization server nor its libraries, and no jwx"},
	{From: "cmd/healthmonitor", To: []string{"authz", "github.com/jackc/pgx", "github.com/go-oauth2/oauth2", "modernc.org/sqlite"}, Deep: true, Why: "an offline device carries neither the authorization server nor its libraries"},
	{From: "pop", Except: []string{"pop/gatt", "pop/coapsec", "pop/client"}, To: []string{"net", "os", "net/http"}, Why: "protocol packages open no socket and no file"},
}

// goCoAPTransports is what of go-coap is more than messages and codes.
var goCoAPTransports = []string{
	"github.com/plgd-dev/go-coap/v3/dtls", "github.com/plgd-dev/go-coap/v3/mux", "github.com/plgd-dev/go-coap/v3/net",
	"github.com/plgd-dev/go-coap/v3/options", "github.com/plgd-dev/go-coap/v3/tcp", "github.com/plgd-dev/go-coap/v3/udp/client",
	"github.com/plgd-dev/go-coap/v3/udp/server",
}

type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func TestImportRules(t *testing.T) {
	for _, p := range list(t) {
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		for _, r := range rules {
			if !r.covers(name) {
				continue
			}
			for _, imported := range r.seen(p) {
				if r.forbids(name, imported) {
					t.Errorf("%s imports %s: %s", name, imported, r.Why)
				}
			}
		}
	}
}

// TestImportRulesCatch proves that each rule can break: a package that does what it forbids is found.
func TestImportRulesCatch(t *testing.T) {
	for _, r := range rules {
		from := strings.TrimPrefix(r.From, "=")
		if from == "" {
			from = "elsewhere"
		}
		if !r.covers(from) {
			t.Errorf("rule %q does not cover %q", r.Why, from)
		}
		for _, to := range r.To {
			if !r.forbids(from, to) && !r.forbids(from, module+"/"+to) {
				t.Errorf("rule %q does not forbid %s → %s", r.Why, from, to)
			}
		}
	}
}

func (r rule) covers(name string) bool {
	for _, e := range r.Except {
		if under(name, e) {
			return false
		}
	}
	if exact, ok := strings.CutPrefix(r.From, "="); ok {
		return name == exact
	}
	return r.From == "" || under(name, r.From)
}

func (r rule) seen(p listed) []string {
	if r.Deep {
		return p.Deps
	}
	return p.Imports
}

func (r rule) forbids(from, imported string) bool {
	ours, isOurs := strings.CutPrefix(imported, module+"/")
	for _, to := range r.To {
		switch {
		case isOurs && under(ours, to) && !under(ours, strings.TrimPrefix(r.From, "=")+"/"):
			return ours != from
		case !isOurs && strings.Contains(to, ".") && under(imported, to):
			return true
		case !isOurs && !strings.Contains(to, ".") && imported == to:
			return true
		}
	}
	return false
}

func under(name, folder string) bool {
	return name == folder || strings.HasPrefix(name, folder+"/")
}

func list(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var p listed
		if err := d.Decode(&p); err != nil {
			t.Fatalf("go list: %v", err)
		}
		all = append(all, p)
	}
	return all
}
