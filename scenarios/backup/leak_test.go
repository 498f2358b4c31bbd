package backup_test

import (
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"unicode"

	"github.com/latchkey-ace/latchkey/scenarios/doorlock"
	"github.com/latchkey-ace/latchkey/scenarios/stage"
	_ "github.com/latchkey-ace/latchkey/storage" // the driver
)

// thief has the database and talks to the server.
type thief struct {
	base   string
	client *http.Client
}

// asks are all ways to show a value to the server, and what in an answer would mean that it was taken.
var asks = []struct {
	name  string
	ask   func(t thief, value string) (*http.Request, error)
	taken func(status int, body string) bool
}{
	{"code", form("/token", "grant_type", "authorization_code", "client_id", "phone", "redirect_uri", "http://127.0.0.1/callback",
		"code_verifier", strings.Repeat("v", 43), "code", ""), good},
	{"refresh token", form("/token", "grant_type", "refresh_token", "client_id", "phone", "refresh_token", ""), good},
	{"device code", form("/token", "grant_type", "urn:ietf:params:oauth:grant-type:device_code", "client_id", "phone", "device_code", ""), good},
	{"client secret", form("/token", "grant_type", "client_credentials", "client_id", "gateway", "audience", "front-door", "client_secret", ""), good},
	{"client secret of the phone", form("/token", "grant_type", "client_credentials", "client_id", "phone", "client_secret", ""), good},
	{"token", form("/introspect", "token", ""), func(_ int, body string) bool { return strings.Contains(body, `"active":true`) }},
	{"pushed request", func(t thief, value string) (*http.Request, error) {
		query := url.Values{"client_id": {"phone"}, "request_uri": {"urn:ietf:params:oauth:request_uri:" + value}}
		return http.NewRequest(http.MethodGet, t.base+"/authorize?"+query.Encode(), nil)
	}, good},
	{"session", func(t thief, value string) (*http.Request, error) {
		r, err := http.NewRequest(http.MethodGet, t.base+authorize, nil)
		if err == nil {
			r.Header.Set("Cookie", session+"="+value)
		}
		return r, err
	}, signedIn},
	{"initial access token", func(t thief, value string) (*http.Request, error) {
		r, err := http.NewRequest(http.MethodPost, t.base+"/register", strings.NewReader(`{"redirect_uris":["https://thief.example/"]}`))
		if err == nil {
			r.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + value}}
		}
		return r, err
	}, good},
}

const session = "__Host-latchkey"

const authorize = "/authorize?response_type=code&client_id=phone&redirect_uri=http%3A%2F%2F127.0.0.1%2Fcallback&audience=front-door&scope=view&" +
	"code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256"

func good(status int, _ string) bool { return status < 400 }

func signedIn(_ int, body string) bool { return strings.Contains(body, "Signed in as") }

// form posts names and values; the last is the stolen one.
func form(path string, pairs ...string) func(thief, string) (*http.Request, error) {
	return func(t thief, value string) (*http.Request, error) {
		v := url.Values{}
		for i := 0; i < len(pairs)-2; i += 2 {
			v.Set(pairs[i], pairs[i+1])
		}
		v.Set(pairs[len(pairs)-2], value)
		r, err := http.NewRequest(http.MethodPost, t.base+path, strings.NewReader(v.Encode()))
		if err == nil {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		return r, err
	}
}

func (t thief) try(request *http.Request) (status int, body string, err error) {
	response, err := t.client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return response.StatusCode, string(text), err
}

// stolen is every value of every table, in the ways in which programs write bytes.
func stolen(t *testing.T, path string) map[string]string {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?mode=ro")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	all := map[string]string{}
	for _, table := range column(t, db, `SELECT name FROM sqlite_schema WHERE type = 'table'`) {
		for _, name := range column(t, db, `SELECT name FROM pragma_table_info('`+table+`')`) {
			for _, value := range column(t, db, `SELECT DISTINCT CAST(`+name+` AS BLOB) FROM `+table+` WHERE `+name+` IS NOT NULL`) {
				for _, text := range []string{value, hex.EncodeToString([]byte(value)), base64.RawURLEncoding.EncodeToString([]byte(value)),
					base64.StdEncoding.EncodeToString([]byte(value))} {
					if !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
						all[text] = table + "." + name
					}
				}
			}
		}
	}
	return all
}

func column(t *testing.T, db *sql.DB, query string) (list []string) {
	t.Helper()
	rows, err := db.Query(query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var value []byte
		if err := rows.Scan(&value); err != nil {
			t.Fatal(err)
		}
		list = append(list, string(value))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return list
}

// TestLeakedDatabase is F111: nothing that is in the database is taken by any endpoint.
func TestLeakedDatabase(t *testing.T) {
	// An app for which somebody vouches would keep the thief out by itself.
	h := houseOf(t, stage.Options{Bin: bin, Dir: t.TempDir(), Out: t.Output(), Public: true})
	h.grantOnce()
	h.must(h.enter("view unlock"))
	h.must(h.login("disarm")) // a code that is good
	var gateway struct{ Secret string }
	h.must(h.LatchkeyJSON(t.Context(), &gateway, "client", "add", "gateway"))
	_, err := h.Latchkey(t.Context(), "", "grant", "add", "--owner", "alice", "--to-client", "gateway", "--device", "front-door", "--allow", "view")
	h.must(err)
	config, err := os.ReadFile(h.Path("server", "latchkey.toml"))
	h.must(err)
	h.must(os.WriteFile(h.Path("server", "latchkey.toml"), append([]byte("limits = false\n"), config...), 0o600)) // a thief has all the time
	h.Server().Stop()
	h.must(h.StartServer())
	who := thief{base: "http://" + strings.Replace(h.HTTP, "127.0.0.1", "localhost", 1), client: &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	who.honest(t, gateway.Secret)
	values := stolen(t, h.Path("server", "latchkey.db"))
	if len(values) < 200 {
		t.Fatalf("only %d values", len(values))
	}
	todo := make(chan string)
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for value := range todo {
				who.all(t, value, values[value])
			}
		})
	}
	for value := range values {
		todo <- value
	}
	close(todo)
	workers.Wait()
	t.Logf("%d values at %d places", len(values), len(asks))
}

func (t thief) all(test *testing.T, value, from string) {
	for _, a := range asks {
		request, err := a.ask(t, value)
		if err != nil {
			continue // no such request can be made
		}
		status, body, err := t.try(request)
		if err != nil {
			test.Errorf("%s as %s: %v", from, a.name, err)
		} else if a.taken(status, body) {
			test.Errorf("a value of %s is taken as %s: %d %.200s", from, a.name, status, body)
		}
	}
	if strings.HasPrefix(value, "$argon2") {
		if _, err := t.signIn(value); err == nil {
			test.Errorf("a value of %s is taken as password", from)
		}
	}
}

// honest shows that the same requests are taken with what is not in the database.
func (t thief) honest(test *testing.T, secret string) {
	test.Helper()
	request, err := asks[3].ask(t, secret)
	if err != nil {
		test.Fatal(err)
	}
	if status, body, err := t.try(request); err != nil || !good(status, body) {
		test.Fatalf("the gateway's own secret: %d, %v, %s", status, err, body)
	}
	cookie, err := t.signIn(doorlock.MumPassword)
	if err != nil {
		test.Fatal(err)
	}
	if request, err = asks[7].ask(t, cookie); err != nil {
		test.Fatal(err)
	}
	if status, body, err := t.try(request); err != nil || !signedIn(status, body) {
		test.Fatalf("mum's own session: %d, %v", status, err)
	}
}

// signIn goes the way through the sign-in page and gives the session's cookie.
func (t thief) signIn(password string) (cookie string, err error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", err
	}
	browser := &http.Client{Jar: jar}
	page, err := browser.Get(t.base + authorize)
	if err != nil {
		return "", err
	}
	defer page.Body.Close()
	text, err := io.ReadAll(page.Body)
	if err != nil {
		return "", err
	}
	_, rest, _ := strings.Cut(string(text), `name="request" value="`)
	sealed, _, _ := strings.Cut(rest, `"`)
	request, err := http.NewRequest(http.MethodPost, t.base+"/login", strings.NewReader(url.Values{
		"request": {strings.NewReplacer("&amp;", "&", "&#43;", "+").Replace(sealed)}, "user": {"mum"}, "password": {password}}.Encode()))
	if err != nil {
		return "", err
	}
	request.Header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Origin": {t.base}, "Sec-Fetch-Site": {"same-origin"}}
	answer, err := browser.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return "", err
	}
	if !signedIn(answer.StatusCode, string(body)) {
		return "", fmt.Errorf("not signed in: %s", answer.Status)
	}
	for _, c := range jar.Cookies(&url.URL{Scheme: "https", Host: answer.Request.URL.Host, Path: "/"}) {
		if c.Name == session {
			cookie = c.Value
		}
	}
	return cookie, nil
}
