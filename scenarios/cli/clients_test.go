package cli_test

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// publicKeys is the key of RFC 7515 appendix A.3.1 as a set.
const publicKeys = `{"keys":[{"kty":"EC","crv":"P-256","kid":"1","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`

// TestClientsWithKeys: an operator registers apps that show more than a secret, and an API for them.
func TestClientsWithKeys(t *testing.T) {
	h := newHouse(t)
	h.write("app.jwks", publicKeys)
	object := func(text string) (m map[string]any) {
		t.Helper()
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		return m
	}
	api := object(h.must("", "latchkey", "device", "add", "calendar", "--owner", "alice", "--delivery", "http",
		"--resource", "https://calendar.example/v1", "--action", "read=/events:GET", "--json"))
	if api["resource"] != "https://calendar.example/v1" || api["audience"] == "" {
		t.Errorf("got %v", api)
	}
	if list := h.must("", "latchkey", "device", "list"); !strings.Contains(list, "HTTP API https://calendar.example/v1, can read") {
		t.Errorf("device list: %s", list)
	}
	for _, add := range [][]string{
		{"backend", "--auth-method", "private_key_jwt", "--jwks", "app.jwks", "--dpop", "--name", "The back end"},
		{"meter", "--auth-method", "tls_client_auth", "--tls-san-dns", "meter.example", "--tls-bound"},
		{"cal", "--auth-method", "private_key_jwt", "--jwks", "app.jwks", "--serves", "calendar"},
		{"pusher", "--public", "--redirect-uri", "http://127.0.0.1/callback", "--require-par"},
	} {
		answer := object(h.must("", "latchkey", append([]string{"client", "add", "--json"}, add...)...))
		if answer["client"] != add[0] || answer["secret"] != nil {
			t.Errorf("%s: %v", add[0], answer)
		}
	}
	h.must("", "latchkey", "grant", "add", "--owner", "alice", "--to-client", "backend", "--device", "calendar", "--allow", "read")
	secret := "0123456789abcdef0123456789abcdef0123456789abcdefXYZ-not-so-random"
	said := h.must(secret, "latchkey", "client", "add", "reporting", "--secret-stdin", "--bearer")
	if strings.Contains(said, secret) {
		t.Errorf("a secret that was brought along is shown: %s", said)
	}
	entries, err := os.ReadDir(h.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(h.path(e.Name()))
		if err == nil && bytes.Contains(data, []byte(secret)) {
			t.Errorf("the secret stands in %s", e.Name())
		}
	}
}
