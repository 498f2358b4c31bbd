package httpapi_test

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/console"
	"github.com/latchkey-ace/latchkey/authz/grant"
	"github.com/latchkey-ace/latchkey/authz/httpapi"
	"github.com/latchkey-ace/latchkey/authz/httpapi/origin"
	"github.com/latchkey-ace/latchkey/authz/throttle"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/storage"
	"golang.org/x/net/html"
)

const (
	password = "correct horse battery"
	redirect = "http://127.0.0.1/callback"

	// The pair of RFC 7636 appendix B.
	verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

var (
	view   = aif.Entry{Path: "/door", Methods: aif.GET}
	unlock = aif.Entry{Path: "/door/unlock", Methods: aif.POST}
	config = aif.Entry{Path: "/config", Methods: aif.PUT}
)

// passwordHash is made once: it takes a while on purpose.
var passwordHash = sync.OnceValues(func() (string, error) { return console.HashPassword(password) })

// clock is set by hand.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// journal is a log that may be read while it is written.
type journal struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.all.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.all.String()
}

// world is a server on loopback with Alice's door and her mother's phone.
type world struct {
	t       testing.TB
	store   authz.Store
	server  *authz.Server
	clock   *clock
	log     *journal
	url     string // the issuer
	base    string // where it is served
	secret  string // of the client "gateway"
	limits  map[throttle.Kind]throttle.Rule
	trust   origin.Trust
	options httpapi.Options
	handler http.Handler

	issuerPath string
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, clock: &clock{at: time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC)}, log: &journal{}}
	store, err := storage.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "as.db"), storage.Options{Key: storage.StoreKey{1}, Now: w.clock.now})
	w.must(err)
	w.store = store
	t.Cleanup(func() { w.must(store.Close()) })
	w.furnish()
	w.serve(store)
	return w
}

// serve starts a server on a store and a free port of its own.
func (w *world) serve(store authz.Store) {
	w.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	w.base = "http://" + l.Addr().String()
	w.url = w.base + w.issuerPath
	log := slog.New(slog.NewTextHandler(w.log, nil))
	w.server, err = authz.New(w.t.Context(), w.url, store, grant.New(rand.Reader), authz.Options{Now: w.clock.now, Log: log, Limits: w.limits})
	w.must(err)
	pages, err := console.New(w.server, log)
	w.must(err)
	w.handler = origin.Handler(httpapi.New(w.server, pages, log, w.options), w.trust)
	s := httpapi.Serve(w.handler)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	w.t.Cleanup(func() {
		w.must(s.Close())
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			w.t.Error(err)
		}
	})
}

func (w *world) furnish() {
	w.t.Helper()
	hash, err := passwordHash()
	w.must(err)
	for _, name := range []string{"alice", "mother", "stranger"} {
		w.must(w.store.AddUser(w.t.Context(), authz.User{Name: name, PasswordHash: hash, CreatedAt: w.clock.now()}))
	}
	w.device(1, nil)
	w.client(authz.Client{ID: "phone", AuthMethod: authz.AuthNone, RedirectURIs: []string{redirect, "https://app.example/cb"}, GrantTypes: []string{authz.AuthorizationCode}, ClientMadeKeys: true})
	var secretHash []byte
	w.secret, secretHash, err = authz.Secret(rand.Reader)
	w.must(err)
	w.client(authz.Client{ID: "gateway", AuthMethod: authz.AuthSecretBasic, SecretHash: secretHash, GrantTypes: []string{authz.ClientCredentials}, ClientMadeKeys: true})
}

func (w *world) client(c authz.Client) { w.must(w.store.AddClient(w.t.Context(), c)) }

func deviceID(n byte) provision.DeviceID { return provision.DeviceID{0xD0, 7: n} }

func (w *world) device(n byte, change func(*authz.Device)) {
	w.t.Helper()
	root := sha256.Sum256([]byte{n})
	d := authz.Device{
		ID: deviceID(n), Name: "door-" + string('0'+rune(n)), Owner: "alice", Kind: provision.KindLock, Delivery: authz.DeliveryPush,
		Profile: pop.ProfileCoAPOSCORE, Clock: provision.ClockSynced, Shape: provision.ShapeEncrypt0, RootKey: root[:], SenderID: []byte{0x51, n},
		Actions: []provision.Action{
			{Name: "unlock", Path: unlock.Path, Methods: unlock.Methods}, {Name: "view", Path: view.Path, Methods: view.Methods},
			{Name: "configure", Path: config.Path, Methods: config.Methods},
		},
	}
	if change != nil {
		change(&d)
	}
	w.must(w.store.AddDevice(w.t.Context(), d))
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// give gives entries on door 1 to a person, or to the gateway.
func (w *world) give(to string, entries ...aif.Entry) authz.Grant {
	w.t.Helper()
	subject := authz.Subject{User: to}
	if to == "gateway" {
		subject = authz.Subject{Client: to}
	}
	g, err := w.server.Give(w.t.Context(), authz.Grant{Owner: "alice", To: subject, Device: deviceID(1), Rights: aif.New(entries...)})
	w.must(err)
	return g
}

func (w *world) audit() []authz.AuditEntry {
	w.t.Helper()
	all, err := w.store.AuditTail(w.t.Context(), 10_000)
	w.must(err)
	return all
}

func (w *world) tokens() int {
	w.t.Helper()
	all, err := w.store.TokensOf(w.t.Context(), deviceID(1), w.clock.now())
	w.must(err)
	return len(all)
}

// question is a good authorization request; change pairs replace parameters, "" removes one.
func question(change ...string) url.Values {
	q := url.Values{
		"response_type": {"code"}, "client_id": {"phone"}, "redirect_uri": {redirect}, "state": {"st"}, "audience": {"door-1"},
		"code_challenge": {challenge}, "code_challenge_method": {"S256"},
	}
	for i := 0; i < len(change); i += 2 {
		q.Del(change[i])
		if change[i+1] != "" {
			q.Set(change[i], change[i+1])
		}
	}
	return q
}

// browser keeps cookies and follows nothing by itself.
type browser struct {
	w    *world
	http *http.Client
}

func (w *world) browser() *browser {
	jar, err := cookiejar.New(nil)
	w.must(err)
	return &browser{w, &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// page is an answer with what stands in its form.
type page struct {
	*http.Response
	body   string
	action string
	form   url.Values
}

func (b *browser) do(method, address, body string, headers ...string) page {
	b.w.t.Helper()
	r, err := http.NewRequestWithContext(b.w.t.Context(), method, address, strings.NewReader(body))
	b.w.must(err)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		}
	}
	response, err := b.http.Do(r)
	b.w.must(err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	b.w.must(err)
	p := page{Response: response, body: string(text), form: url.Values{}}
	p.parse(b.w)
	return p
}

func (p *page) parse(w *world) {
	root, err := html.Parse(strings.NewReader(p.body))
	w.must(err)
	for n := range root.Descendants() {
		attributes := map[string]string{}
		for _, a := range n.Attr {
			attributes[a.Key] = a.Val
		}
		switch {
		case n.Type != html.ElementNode:
		case n.Data == "form":
			p.action = attributes["action"]
		case n.Data == "input":
			p.form.Set(attributes["name"], attributes["value"])
		}
	}
}

func (b *browser) get(address string) page {
	b.w.t.Helper()
	return b.do(http.MethodGet, address, "")
}

const formType = "application/x-www-form-urlencoded"

func (b *browser) post(address string, form url.Values, headers ...string) page {
	b.w.t.Helper()
	return b.do(http.MethodPost, address, form.Encode(), append([]string{"Content-Type", formType}, headers...)...)
}

// ask opens the page that an app sends people to.
func (b *browser) ask(q url.Values) page {
	b.w.t.Helper()
	return b.get(b.w.url + "/authorize?" + q.Encode())
}

// fill sends a page's form with some fields filled in.
func (b *browser) fill(p page, fields ...string) page {
	b.w.t.Helper()
	for i := 0; i < len(fields); i += 2 {
		p.form.Set(fields[i], fields[i+1])
	}
	return b.post(b.w.url+p.action, p.form)
}

// signIn goes from the request to the question.
func (b *browser) signIn(name string, q url.Values) page {
	b.w.t.Helper()
	p := b.fill(b.ask(q), "user", name, "password", password)
	if p.StatusCode != http.StatusSeeOther {
		b.w.t.Fatalf("signing in: status %d: %s", p.StatusCode, p.body)
	}
	return b.get(b.w.url + p.Header.Get("Location"))
}

// code walks the whole way to a code.
func (w *world) code(name string, q url.Values) string {
	w.t.Helper()
	b := w.browser()
	p := b.fill(b.signIn(name, q), "answer", "yes")
	return w.back(p).Get("code")
}

// back wants the browser to be sent to the app and returns what the app gets.
func (w *world) back(p page) url.Values {
	w.t.Helper()
	to := p.Header.Get("Location")
	query, ok := strings.CutPrefix(to, redirect+"?")
	if p.StatusCode != http.StatusSeeOther || !ok {
		w.t.Fatalf("status %d to %q: %s", p.StatusCode, to, p.body)
	}
	v, err := url.ParseQuery(query)
	w.must(err)
	return v
}

// redemption is the form that redeems a code.
func redemption(code string) url.Values {
	return url.Values{"grant_type": {"authorization_code"}, "client_id": {"phone"}, "code": {code}, "redirect_uri": {redirect}, "code_verifier": {verifier}}
}

// object is a JSON answer.
func (w *world) object(p page) map[string]any {
	w.t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(p.body), &m); err != nil {
		w.t.Fatalf("status %d, not JSON: %q", p.StatusCode, p.body)
	}
	return m
}

// basic is the header of HTTP Basic credentials.
func basic(id, secret string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))
}

// ticking is a store after whose every list of grants the clock has moved on.
type ticking struct {
	authz.Store
	clock *clock
	by    time.Duration
}

func (s ticking) GrantsOf(ctx context.Context, to authz.Subject, device provision.DeviceID, now time.Time) ([]authz.Grant, error) {
	defer s.clock.move(s.by)
	return s.Store.GrantsOf(ctx, to, device, now)
}

// serveTicking starts another server whose clock moves with every decision. Sessions go on: cookies do not know ports.
func (w *world) serveTicking(by time.Duration) {
	w.t.Helper()
	w.serve(ticking{w.store, w.clock, by})
}

// deviceForJWT adds door n, which takes JWTs, and returns what it can be granted.
func (w *world) deviceForJWT(n byte) aif.Rights {
	w.t.Helper()
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	w.must(err)
	w.device(n, func(d *authz.Device) { d.Shape, d.PublicKey = provision.ShapeJWT, key.PublicKey().Bytes() })
	return aif.New(view)
}
