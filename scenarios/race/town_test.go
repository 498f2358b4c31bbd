package race

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop/client"
	"github.com/latchkey-ace/latchkey/scenarios/stage"
	"github.com/latchkey-ace/latchkey/storage/storagetest/pgtest"
	"golang.org/x/net/html"
)

const (
	crowd    = 1000 // requests that meet
	password = "alice's long password"
	redirect = "http://127.0.0.1/callback"
	formType = "application/x-www-form-urlencoded"
)

var bin string

func TestMain(m *testing.M) {
	os.Exit(stage.WithPrograms(func(dir string) int {
		bin = dir
		return pgtest.Main(m)
	}))
}

// town is a house with one server or more, and an app with a secret that may use every grant.
type town struct {
	t       *testing.T
	stage   *stage.Stage
	servers []string // their addresses, all on localhost: cookies do not know ports
	secret  string
	http    *http.Client // of the crowd
}

// everywhere runs a test on the built-in store with one server, and on PostgreSQL with two.
func everywhere(t *testing.T, test func(t *testing.T, w *town)) {
	t.Run("sqlite", func(t *testing.T) { test(t, newTown(t, "", 1)) })
	t.Run("postgres, two servers", func(t *testing.T) { test(t, newTown(t, pgtest.Start(t), 2)) })
}

func newTown(t *testing.T, db string, servers int) *town {
	t.Helper()
	// A thousand from one app within a second are what limits are there for; here they meet.
	s, err := stage.New(t.Context(), stage.Options{Bin: bin, Dir: t.TempDir(), Out: io.Discard, DB: db})
	must(t, err)
	t.Cleanup(s.Close)
	w := &town{t: t, stage: s, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: crowd}, CheckRedirect: stay}}
	t.Cleanup(w.http.CloseIdleConnections)
	w.must(password, "user", "add", "alice", "--password-stdin")
	w.must("", "device", "add", "front-door", "--owner", "alice", "--kind", "lock", "--out", s.Path("front-door.lkp"), "--action", "unlock=/door/unlock:POST")
	var app struct {
		Secret string `json:"secret"`
	}
	out := w.must("", "client", "add", "app", "--json", "--redirect-uri", redirect, "--grant-type", "authorization_code",
		"--grant-type", "refresh_token", "--grant-type", "device_code")
	must(t, json.Unmarshal([]byte(out), &app))
	w.secret = app.Secret
	for n := range servers {
		w.servers = append(w.servers, w.serve(n))
	}
	return w
}

// serve starts the server with number n; each has a folder of its own, with the same settings and the same store key.
func (w *town) serve(n int) string {
	w.t.Helper()
	folder, address := w.stage.Path("server"), w.stage.HTTP
	args := []string{"--limits=false"}
	if n > 0 {
		coap := ""
		address, coap = w.port("tcp"), w.port("udp")
		args = append(args, "--http", address, "--coap", coap)
		other := w.stage.Path("server-" + string('0'+rune(n)))
		must(w.t, os.Mkdir(other, 0o700))
		for _, name := range []string{"latchkey.toml", "store.key"} {
			data, err := os.ReadFile(filepath.Join(folder, name))
			must(w.t, err)
			must(w.t, os.WriteFile(filepath.Join(other, name), data, 0o600))
		}
		folder = other
	}
	_, err := w.stage.Start("latchkey", "serving ", append([]string{"serve", "--data", folder}, args...)...)
	must(w.t, err)
	return "http://" + strings.Replace(address, "127.0.0.1", "localhost", 1)
}

func (w *town) port(network string) string {
	w.t.Helper()
	address, err := stage.FreePort(network)
	must(w.t, err)
	return address
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// must runs the server's tool.
func (w *town) must(stdin string, args ...string) string {
	w.t.Helper()
	out, err := w.stage.Latchkey(w.t.Context(), stdin, args...)
	must(w.t, err)
	return out
}

func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// app is the app on pop/client.
func (w *town) app(push bool) *client.Client {
	w.t.Helper()
	c, err := client.Discover(w.t.Context(), w.stage.Issuer(), client.Options{ID: "app", Secret: w.secret, Rand: rand.Reader, Push: push})
	must(w.t, err)
	return c
}

var ask = client.Ask{Audience: "front-door", Scope: "unlock", Redirect: redirect}

// code is a code that waits to be redeemed.
func (w *town) code() client.Code {
	w.t.Helper()
	code, err := w.app(false).Headless(w.t.Context(), ask, "alice", password)
	must(w.t, err)
	return code
}

// redemption is the form that redeems a code.
func redemption(code client.Code) url.Values {
	return url.Values{"grant_type": {"authorization_code"}, "code": {code.Value}, "redirect_uri": {code.Redirect}, "code_verifier": {code.Verifier}}
}

// answer is what one of the crowd got.
type answer struct {
	status int
	header http.Header
	body   map[string]any
	at     time.Time
}

// post sends a form; with the app's secret unless cookies show who sends it.
func (w *town) post(ctx context.Context, h *http.Client, address string, form url.Values) (answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("Content-Type", formType)
	if h.Jar == nil {
		r.SetBasicAuth("app", w.secret)
	}
	response, err := h.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	out := answer{status: response.StatusCode, header: response.Header, at: time.Now()}
	if h.Jar != nil {
		_, err = io.Copy(io.Discard, response.Body)
		return out, err
	}
	return out, json.NewDecoder(response.Body).Decode(&out.body)
}

// meet lets the crowd post one form at once, to all servers in turn.
func (w *town) meet(h *http.Client, path string, form url.Values) []answer {
	w.t.Helper()
	answers, start := make([]answer, crowd), make(chan struct{})
	var all sync.WaitGroup
	for i := range crowd {
		all.Go(func() {
			<-start
			var err error
			if answers[i], err = w.post(w.t.Context(), h, w.servers[i%len(w.servers)]+path, form); err != nil {
				w.t.Errorf("request %d: %v", i, err)
			}
		})
	}
	close(start)
	all.Wait()
	return answers
}

// count sorts answers by status and error.
func count(answers []answer) map[string]int {
	all := map[string]int{}
	for _, a := range answers {
		name, _ := a.body["error"].(string)
		all[strings.TrimSpace(http.StatusText(a.status)+" "+name)]++
	}
	return all
}

func (w *town) counts(what string, answers []answer, want map[string]int) {
	w.t.Helper()
	if got := count(answers); !maps.Equal(got, want) {
		w.t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// redeemed wants one form at the token endpoint to be granted.
func (w *town) redeemed(form url.Values) map[string]any {
	w.t.Helper()
	a, err := w.post(w.t.Context(), w.http, w.servers[0]+"/token", form)
	must(w.t, err)
	if a.status != http.StatusOK {
		w.t.Fatalf("status %d: %v", a.status, a.body)
	}
	return a.body
}

// browser is somebody's, with cookies.
func (w *town) browser() *http.Client {
	w.t.Helper()
	jar, err := cookiejar.New(nil)
	must(w.t, err)
	return &http.Client{Jar: jar, CheckRedirect: stay, Transport: w.http.Transport}
}

// page opens an address and returns the form on it; where it asks to sign in, Alice does.
func (w *town) page(b *http.Client, address string) (action string, form url.Values) {
	w.t.Helper()
	for range 3 {
		r, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, address, nil)
		must(w.t, err)
		response, err := b.Do(r)
		must(w.t, err)
		root, err := html.Parse(response.Body)
		_ = response.Body.Close()
		must(w.t, err)
		action, form = formOf(root)
		if !form.Has("password") {
			return action, form
		}
		form.Set("user", "alice")
		form.Set("password", password)
		a, err := w.post(w.t.Context(), b, w.servers[0]+action, form)
		must(w.t, err)
		address = w.servers[0] + a.header.Get("Location")
	}
	w.t.Fatalf("cannot sign in for %s", address)
	return "", nil
}

func formOf(root *html.Node) (action string, form url.Values) {
	form = url.Values{}
	for n := range root.Descendants() {
		attributes := map[string]string{}
		for _, a := range n.Attr {
			attributes[a.Key] = a.Val
		}
		switch n.Data {
		case "form":
			action = attributes["action"]
		case "input":
			form.Set(attributes["name"], attributes["value"])
		}
	}
	return action, form
}
