package httpapi_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/latchkey-ace/latchkey/authz"
)

// away is a store that cannot be reached.
type away struct {
	authz.Store
	err error
}

func (a away) Client(context.Context, string) (authz.Client, error) { return authz.Client{}, a.err }

// TestStoreAway: what needs the store is answered 503 with a time to ask again, what does not goes on (F11).
func TestStoreAway(t *testing.T) {
	w := newWorld(t)
	w.serve(away{w.store, fmt.Errorf("find client: %w", authz.ErrUnavailable)})
	b := w.browser()
	for name, got := range map[string]page{
		"token":     b.post(w.url+"/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {"gateway"}, "client_secret": {"x"}}),
		"authorize": b.ask(question()),
	} {
		if got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Retry-After") != "5" || got.Header.Get("Location") != "" {
			t.Errorf("%s: %s, Retry-After %q, want 503 after 5", name, got.Status, got.Header.Get("Retry-After"))
		}
	}
	for _, path := range []string{"/jwks", "/.well-known/oauth-authorization-server"} {
		if got := b.get(w.url + path); got.StatusCode != http.StatusOK {
			t.Errorf("%s: %s, want 200", path, got.Status)
		}
	}
	w.serve(away{w.store, fmt.Errorf("another fault")})
	got := b.post(w.url+"/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {"gateway"}, "client_secret": {"x"}})
	if got.StatusCode != http.StatusInternalServerError || got.Header.Get("Retry-After") != "" {
		t.Errorf("another fault: %s, want 500", got.Status)
	}
}
