package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"

	"golang.org/x/net/html"
)

// maxSteps bounds the pages of one login: sign in, redirect, question, redirect.
const maxSteps = 8

// ErrWrongPassword says that the server showed the sign-in page again.
var ErrWrongPassword = errors.New("name and password do not go together")

// walker goes from page to page as a browser without scripts would.
type walker struct {
	http     *http.Client
	attempt  attempt
	signedIn bool // name and password were sent
}

func newWalker(c *Client, a attempt) (*walker, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	h := *c.http
	h.Jar = jar
	h.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &walker{http: &h, attempt: a}, nil
}

// walk follows redirects and answers forms until the server sends the browser back to the app.
func (w *walker) walk(ctx context.Context, answers map[string]string) (url.Values, error) {
	next, err := http.NewRequestWithContext(ctx, http.MethodGet, w.attempt.url, nil)
	if err != nil {
		return nil, err
	}
	for range maxSteps {
		response, err := w.http.Do(next)
		if err != nil {
			return nil, fmt.Errorf("authorize: %w", err)
		}
		body, err := readAll(response)
		if err != nil {
			return nil, err
		}
		if location := response.Header.Get("Location"); location != "" {
			if q, ok := w.attempt.isRedirect(location); ok {
				return q, nil
			}
			next, err = w.follow(ctx, response.Request.URL, location)
		} else {
			next, err = w.submit(ctx, response.Request.URL, body, answers)
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, errors.New("authorize: the pages lead nowhere")
}

func readAll(response *http.Response) ([]byte, error) {
	defer response.Body.Close()
	var b bytes.Buffer
	_, err := b.ReadFrom(http.MaxBytesReader(nil, response.Body, maxDocument))
	return b.Bytes(), err
}

// follow stays at the server: a redirect elsewhere that is not our own address is refused.
func (w *walker) follow(ctx context.Context, base *url.URL, location string) (*http.Request, error) {
	u, err := base.Parse(location)
	if err != nil || u.Host != base.Host || u.Scheme != base.Scheme {
		return nil, errors.New("authorize: the server sends us elsewhere")
	}
	return http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
}

// submit fills the page's form.
func (w *walker) submit(ctx context.Context, base *url.URL, page []byte, answers map[string]string) (*http.Request, error) {
	form, err := parseForm(page)
	if err != nil {
		return nil, err
	}
	if form.action == "" {
		return nil, fmt.Errorf("authorize: the server says: %s", form.text)
	}
	if _, asks := form.values["password"]; asks {
		if w.signedIn {
			return nil, ErrWrongPassword
		}
		w.signedIn = true
	}
	for name := range form.values {
		if v, ok := answers[name]; ok {
			form.values.Set(name, v)
		}
	}
	u, err := base.Parse(form.action)
	if err != nil || u.Host != base.Host || u.Scheme != base.Scheme {
		return nil, errors.New("authorize: the form leads elsewhere")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), strings.NewReader(form.values.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r, nil
}

type pageForm struct {
	action string
	values url.Values
	text   string // of the page's alert, for errors
}

func parseForm(page []byte) (pageForm, error) {
	root, err := html.Parse(bytes.NewReader(page))
	if err != nil {
		return pageForm{}, fmt.Errorf("authorize page: %w", err)
	}
	f := pageForm{values: url.Values{}}
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		switch n.Data {
		case "form":
			f.action = attribute(n, "action")
		case "input", "button":
			if name := attribute(n, "name"); name != "" {
				f.values.Set(name, attribute(n, "value"))
			}
		case "p":
			if attribute(n, "role") == "alert" && n.FirstChild != nil {
				f.text = strings.TrimSpace(n.FirstChild.Data)
			}
		}
	}
	return f, nil
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}
