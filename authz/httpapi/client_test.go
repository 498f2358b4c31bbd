package httpapi_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/client"
	"github.com/latchkey-ace/latchkey/pop/news"
)

// phone is mother's app on pop/client.
func (w *world) phone() *client.Client {
	w.t.Helper()
	c, err := client.Discover(w.t.Context(), w.url, client.Options{ID: "phone", Rand: rand.Reader, Now: w.clock.now})
	w.must(err)
	return c
}

var forDoor = client.Ask{Audience: "door-1", Redirect: redirect}

// open plays a person with a browser: it walks the real pages in the background, down to the app's own.
func (w *world) open(name string, last chan<- error) func(address string) error {
	return func(address string) error {
		go func() {
			b := w.browser()
			p := b.fill(b.get(address), "user", name, "password", password)
			p = b.get(w.url + p.Header.Get("Location"))
			if p.StatusCode == http.StatusOK {
				p = b.fill(p, "answer", "yes")
			}
			response, err := http.Get(p.Header.Get("Location")) //nolint:noctx // Login ends it
			if err == nil {
				err = response.Body.Close()
			}
			last <- err
		}()
		return nil
	}
}

// saved collects what a session writes down.
type saved struct{ all []client.Saved }

func (s *saved) save(v client.Saved) error {
	s.all = append(s.all, v)
	return nil
}

// TestClientLogin: from the app's link through a browser and the loopback port to a token.
func TestClientLogin(t *testing.T) {
	w := newWorld(t)
	w.give("mother", unlock)
	phone, last := w.phone(), make(chan error, 1)
	code, err := phone.Login(t.Context(), forDoor, w.open("mother", last))
	w.must(err)
	<-last // the browser may see the app's page cut off; that is no failure of the login
	if !strings.HasPrefix(code.Redirect, "http://127.0.0.1:") || !strings.HasSuffix(code.Redirect, "/callback") {
		t.Errorf("the code came to %s", code.Redirect)
	}
	if s := fmt.Sprintf("%v %+v %#v", code, code, code); strings.Contains(s, code.Value) || strings.Contains(s, code.Verifier) {
		t.Errorf("a code prints as %s", s)
	}
	var kept saved
	key := []byte("0123456789abcdef")
	session, err := phone.Token(t.Context(), client.Want{Code: &code, Key: key}, kept.save)
	w.must(err)
	v := session.Saved()
	if !bytes.Equal(v.Secret, key) || len(v.KeyID) != 8 || len(v.Token) == 0 || v.Scope != "unlock" || !v.ExpiresAt.Equal(w.clock.now().Add(time.Hour)) || session.Ready() || len(kept.all) != 1 {
		t.Errorf("scope %q, token of %d bytes, until %v, ready %v, saved %d times", v.Scope, len(v.Token), v.ExpiresAt, session.Ready(), len(kept.all))
	}
	if _, err := phone.Token(t.Context(), client.Want{Code: &code}, kept.save); !errors.Is(err, &ace.Error{Code: ace.InvalidGrant}) {
		t.Errorf("the code a second time: got %v", err)
	}
}

// TestClientLoginRefused: the person has no right, so the app learns why and who says so.
func TestClientLoginRefused(t *testing.T) {
	w := newWorld(t)
	last := make(chan error, 1)
	_, err := w.phone().Login(t.Context(), forDoor, w.open("stranger", last))
	<-last
	var refused *ace.Error
	if !errors.As(err, &refused) || refused.Code != ace.InvalidScope || refused.Description != "no grant" {
		t.Errorf("got %v", err)
	}
}

// TestClientHeadless walks the same pages for scripts.
func TestClientHeadless(t *testing.T) {
	w := newWorld(t)
	w.give("mother", unlock)
	phone := w.phone()
	code, err := phone.Headless(t.Context(), forDoor, "mother", password)
	w.must(err)
	var kept saved
	session, err := phone.Token(t.Context(), client.Want{Code: &code, Audience: "door-1", Scope: "unlock"}, kept.save)
	w.must(err)
	if v := session.Saved(); v.Scope != "unlock" || len(v.Secret) != 16 {
		t.Errorf("scope %q, key of %d bytes", v.Scope, len(v.Secret))
	}

	ask := func(change func(*client.Ask)) client.Ask {
		a := forDoor
		change(&a)
		return a
	}
	rows := []struct {
		name     string
		ask      client.Ask
		who, how string
		want     func(error) bool
	}{
		{"a wrong password", forDoor, "mother", "wrong password", func(err error) bool { return errors.Is(err, client.ErrWrongPassword) }},
		{"an unknown name", forDoor, "nobody", password, func(err error) bool { return errors.Is(err, client.ErrWrongPassword) }},
		{"no right", forDoor, "stranger", password, func(err error) bool { return errors.Is(err, &ace.Error{Code: ace.InvalidScope}) }},
		{"an unknown device", ask(func(a *client.Ask) { a.Audience = "barn" }), "mother", password, func(err error) bool { return errors.Is(err, &ace.Error{Code: ace.InvalidRequest}) }},
		{"an unknown action", ask(func(a *client.Ask) { a.Scope = "fly" }), "mother", password, func(err error) bool { return errors.Is(err, &ace.Error{Code: ace.InvalidScope}) }},
		{"another address", ask(func(a *client.Ask) { a.Redirect = "http://127.0.0.1/other" }), "mother", password, func(err error) bool { return err != nil && strings.Contains(err.Error(), "did not register") }},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if code, err := phone.Headless(t.Context(), row.ask, row.who, row.how); !row.want(err) || code != (client.Code{}) {
				t.Errorf("got %v", err)
			}
		})
	}
	unknown, err := client.Discover(t.Context(), w.url, client.Options{ID: "nobody", Rand: rand.Reader})
	w.must(err)
	if _, err := unknown.Headless(t.Context(), forDoor, "mother", password); err == nil || !strings.Contains(err.Error(), "not registered") {
		t.Errorf("an unknown app: got %v", err)
	}
}

// TestClientCredentialsClient: a confidential client by Basic, and the same with a wrong secret.
func TestClientCredentialsClient(t *testing.T) {
	w := newWorld(t)
	w.give("gateway", view)
	var kept saved
	for secret, want := range map[string]error{w.secret: nil, w.secret[1:]: &ace.Error{Code: ace.InvalidClient}, "": &ace.Error{Code: ace.InvalidClient}} {
		c, err := client.Discover(t.Context(), w.url, client.Options{ID: "gateway", Secret: secret, Rand: rand.Reader})
		w.must(err)
		_, err = c.Token(t.Context(), client.Want{Audience: "door-1"}, kept.save)
		if want == nil && err != nil || !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
}

// agreeing is a Deliverer whose device agrees to every context.
type agreeing struct{ uploads atomic.Int32 }

func (d *agreeing) Upload(context.Context, authz.Device, []byte) ([]byte, error) {
	d.uploads.Add(1)
	return ace.AuthzInfoAnswer{Nonce2: []byte("nonce2!!"), ServerRecipientID: []byte("id2")}.Encode()
}

func (d *agreeing) Tell(context.Context, authz.Device, news.News) (news.Receipt, error) {
	return news.Receipt{}, errors.New("not told")
}

// TestClientUpload: the server delivers, and the session is ready without the token; without the device it falls back.
func TestClientUpload(t *testing.T) {
	w := newWorld(t)
	w.give("mother", unlock)
	lock := &agreeing{}
	w.server.SetDeliverer(lock)
	phone := w.phone()
	for _, online := range []bool{false, true} {
		if online {
			w.must(w.store.Register(t.Context(), deviceID(1), authz.Registration{Address: "192.0.2.20:5683", LocalURIs: []string{"coap://192.0.2.20"}, ExpiresAt: w.clock.now().Add(time.Hour)}))
		}
		code, err := phone.Headless(t.Context(), forDoor, "mother", password)
		w.must(err)
		var kept saved
		session, err := phone.Token(t.Context(), client.Want{Code: &code, Upload: true}, kept.save)
		w.must(err)
		v := session.Saved()
		if session.Ready() != online || v.Uploaded != online || (len(v.Token) == 0) != online || (len(v.URIs) == 1) != online || (lock.uploads.Load() == 1) != online {
			t.Errorf("online %v: ready %v, uploaded %v, token of %d bytes, at %q", online, session.Ready(), v.Uploaded, len(v.Token), v.URIs)
		}
	}
}

// comesBack is a browser that brings answers, the good one changed, and tells the status of each.
func (w *world) comesBack(statuses chan<- int, changes ...func(url.Values)) func(address string) error {
	return func(address string) error {
		u, err := url.Parse(address)
		if err != nil {
			return err
		}
		go func() {
			for _, change := range changes {
				v := url.Values{"code": {"x"}, "state": {u.Query().Get("state")}, "iss": {w.url}}
				change(v)
				if response, err := http.Get(u.Query().Get("redirect_uri") + "?" + v.Encode()); err == nil { //nolint:noctx // Login ends it
					_ = response.Body.Close()
					statuses <- response.StatusCode
				}
			}
		}()
		return nil
	}
}

// TestClientOutlivesForeignAnswers: what comes with another state spoils no sign-in (RFC 6749 §10.12).
func TestClientOutlivesForeignAnswers(t *testing.T) {
	w := newWorld(t)
	statuses := make(chan int, 3)
	code, err := w.phone().Login(t.Context(), forDoor, w.comesBack(statuses,
		func(v url.Values) { v.Set("state", "other") }, func(v url.Values) { v.Del("state") }, func(url.Values) {}))
	if err != nil || code.Value != "x" {
		t.Fatalf("got %v", err)
	}
	if first, second := <-statuses, <-statuses; first != http.StatusBadRequest || second != http.StatusBadRequest {
		t.Errorf("the browser is told %d and %d", first, second)
	}
}

// TestClientDistrustsAnswers: what comes back with another issuer is not for us (RFC 9207).
func TestClientDistrustsAnswers(t *testing.T) {
	w := newWorld(t)
	phone := w.phone()
	for name, change := range map[string]func(url.Values){
		"another issuer": func(v url.Values) { v.Set("iss", "https://evil.example") },
		"no issuer":      func(v url.Values) { v.Del("iss") },
		"no code":        func(v url.Values) { v.Del("code") },
	} {
		code, err := phone.Login(t.Context(), forDoor, w.comesBack(make(chan int, 1), change))
		if err == nil || !strings.Contains(err.Error(), "does not belong to our question") || code != (client.Code{}) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestClientLoginEnds: with its context, without a browser, and before it starts for an address that is not loopback.
func TestClientLoginEnds(t *testing.T) {
	w := newWorld(t)
	phone := w.phone()
	ctx, cancel := context.WithCancel(t.Context())
	_, err := phone.Login(ctx, forDoor, func(string) error {
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	none := errors.New("no browser")
	if _, err := phone.Login(t.Context(), forDoor, func(string) error { return none }); !errors.Is(err, none) {
		t.Errorf("got %v", err)
	}
	for _, address := range []string{"https://app.example/cb", "http://localhost/cb", "com.example.app:/cb", "http://127.0.0.1.evil.example/cb", "%"} {
		_, err := phone.Login(t.Context(), client.Ask{Audience: "door-1", Redirect: address}, func(string) error {
			t.Errorf("%s: a browser was opened", address)
			return none
		})
		if err == nil {
			t.Errorf("%s is taken", address)
		}
	}
}

// TestClientKeepsCredentialsAtHome: a server whose pages or metadata lead elsewhere gets nothing sent there.
func TestClientKeepsCredentialsAtHome(t *testing.T) {
	var stolen atomic.Int32
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { stolen.Add(1) }))
	defer thief.Close()
	pages := map[string]string{
		"a form that leads away":     `<form action="` + thief.URL + `/login"><input name="user"><input name="password"></form>`,
		"a form to another scheme":   `<form action="ftp://x/login"><input name="user"><input name="password"></form>`,
		"a form on a like-named one": `<form action="//` + strings.TrimPrefix(thief.URL, "http://") + `"><input name="password"></form>`,
		"a redirect away":            "",
		"a page that goes in rounds": `<form action="/authorize"><input name="answer"></form>`,
	}
	for name, body := range pages {
		server := evilServer(body, thief.URL, "")
		c, err := client.Discover(t.Context(), server.URL, client.Options{ID: "phone", Rand: rand.Reader})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Headless(t.Context(), forDoor, "mother", password); err == nil || strings.Contains(err.Error(), password) {
			t.Errorf("%s: got %v", name, err)
		}
		server.Close()
	}
	server := evilServer("", "", thief.URL)
	defer server.Close()
	if _, err := client.Discover(t.Context(), server.URL, client.Options{ID: "phone"}); err == nil {
		t.Error("a token endpoint elsewhere is taken")
	}
	for _, issuer := range []string{"http://as.example", "ftp://127.0.0.1", "https://", "%", "https://as.example/?x", "http://127.0.0.1.evil.example"} {
		if _, err := client.Discover(t.Context(), issuer, client.Options{}); err == nil {
			t.Errorf("issuer %s is taken", issuer)
		}
	}
	if stolen.Load() != 0 {
		t.Errorf("%d requests went to the thief", stolen.Load())
	}
}

// evilServer shows one page, or redirects to elsewhere, and names a token endpoint.
func evilServer(body, elsewhere, token string) *httptest.Server {
	mux := http.NewServeMux()
	s := httptest.NewServer(mux)
	if token == "" {
		token = s.URL
	}
	mux.HandleFunc("/.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"authorization_endpoint":%q,"token_endpoint":%q}`, s.URL, s.URL+"/authorize", token+"/token")
	})
	mux.HandleFunc("/authorize", func(w http.ResponseWriter, r *http.Request) {
		if body == "" {
			http.Redirect(w, r, elsewhere, http.StatusSeeOther)
			return
		}
		fmt.Fprint(w, body)
	})
	return s
}

// TestClientNeverResendsACode: after a lost answer there is one redemption, and the app is told to start anew (D20).
func TestClientNeverResendsACode(t *testing.T) {
	w := newWorld(t)
	w.give("mother", unlock)
	var sent atomic.Int32
	phone, err := client.Discover(t.Context(), w.url, client.Options{ID: "phone", Rand: rand.Reader, HTTP: &http.Client{Transport: lossy{&sent}}})
	w.must(err)
	code, err := phone.Headless(t.Context(), forDoor, "mother", password)
	w.must(err)
	var kept saved
	if _, err := phone.Token(t.Context(), client.Want{Code: &code}, kept.save); err == nil || errors.As(err, new(*ace.Error)) || len(kept.all) != 0 {
		t.Errorf("got %v, saved %d times", err, len(kept.all))
	}
	if sent.Load() != 1 || w.tokens() != 1 {
		t.Errorf("the code was sent %d times for %d tokens", sent.Load(), w.tokens())
	}
}

// lossy loses the answers of the token endpoint.
type lossy struct{ sent *atomic.Int32 }

func (l lossy) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && r.URL.Path == "/token" {
		l.sent.Add(1)
		_ = response.Body.Close()
		return nil, errors.New("connection reset by peer")
	}
	return response, err
}
