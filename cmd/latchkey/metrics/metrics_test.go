package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/delivery"
	"github.com/latchkey-ace/latchkey/pop/news"
)

func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("answered %d", w.Code)
	}
	return w.Body.String()
}

func (m *Metrics) has(t *testing.T, lines ...string) {
	t.Helper()
	text := scrape(t, m)
	for _, line := range lines {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("there is no %s in\n%s", line, text)
		}
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// TestFlood: whatever strangers send, the number of lines stays (F126), and none of it is shown.
func TestFlood(t *testing.T) {
	m := New(Sources{})
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	h := m.HTTP(mux, quiet())
	flood := func(from, to int) {
		for i := from; i < to; i++ {
			strange := fmt.Sprintf("canary%d", i)
			m.Observe(authz.Observation{Event: strange, Result: strange, GrantType: strange, Reason: strange})
			m.Observe(authz.Observation{Event: "token", Result: "refused", GrantType: strange, Reason: strange})
			m.Observe(authz.Observation{Event: "authorize", Result: "refused", Reason: strange})
			for _, path := range []string{"/token", "/" + strange} {
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, path, nil))
				h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(strings.ToUpper(strange), path, nil))
			}
		}
	}
	flood(0, 1)
	before := strings.Count(scrape(t, m), "\nlatchkey_")
	flood(1, 1000)
	text := scrape(t, m)
	if after := strings.Count(text, "\nlatchkey_"); after != before {
		t.Errorf("%d lines became %d", before, after)
	}
	if strings.Contains(strings.ToLower(text), "canary") {
		t.Error("what a stranger sent is shown")
	}
	m.has(t, `latchkey_http_requests_total{endpoint="POST /token",status="4xx"} 1000`, `latchkey_http_requests_total{endpoint="other",status="4xx"} 3000`,
		`latchkey_refused_total{event="authorize",reason="other"} 1000`, `latchkey_token_requests_total{grant_type="other",result="refused"} 1000`)
}

func TestDecisions(t *testing.T) {
	m := New(Sources{})
	m.Observe(authz.Observation{Event: "token", Result: "granted", GrantType: authz.AuthorizationCode})
	m.Observe(authz.Observation{Event: "token", Result: "refused", GrantType: authz.ClientCredentials, Reason: "invalid_scope"})
	m.Observe(authz.Observation{Event: "token", Result: "failed", GrantType: authz.ClientCredentials})
	m.Observe(authz.Observation{Event: "authorize", Result: "refused", Reason: "the grant has ended"})
	m.StoreWrite(3*time.Millisecond, nil)
	m.StoreWrite(time.Millisecond, authz.ErrNotFound)
	m.StoreWrite(time.Second, fmt.Errorf("%w: gone", authz.ErrUnavailable))
	m.has(t, `latchkey_token_requests_total{grant_type="authorization_code",result="granted"} 1`,
		`latchkey_token_requests_total{grant_type="client_credentials",result="refused"} 1`,
		`latchkey_token_requests_total{grant_type="client_credentials",result="failed"} 1`,
		`latchkey_refused_total{event="token",reason="invalid_scope"} 1`, `latchkey_refused_total{event="authorize",reason="the grant has ended"} 1`,
		`latchkey_decisions_total{event="authorize",result="refused"} 1`, `latchkey_store_write_seconds_bucket{result="ok",le="0.005"} 1`,
		`latchkey_store_write_seconds_count{result="refused"} 1`, `latchkey_store_write_seconds_count{result="unavailable"} 1`)
}

// TestPanic is F121: one request fails, and is seen.
func TestPanic(t *testing.T) {
	m := New(Sources{})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /broken", func(http.ResponseWriter, *http.Request) { panic("a mistake") })
	mux.HandleFunc("GET /late", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "half"); panic("a mistake") })
	mux.HandleFunc("GET /fine", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "fine") })
	var log strings.Builder
	server := httptest.NewServer(m.HTTP(mux, slog.New(slog.NewTextHandler(&log, nil))))
	defer server.Close()
	for path, want := range map[string]int{"/broken": 500, "/late": 200, "/fine": 200} {
		response, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, response.StatusCode, want)
		}
	}
	m.has(t, "latchkey_panics_total 2", `latchkey_http_requests_total{endpoint="GET /broken",status="5xx"} 1`, `latchkey_http_requests_total{endpoint="GET /fine",status="2xx"} 1`)
	if !strings.Contains(log.String(), "a mistake") || !strings.Contains(log.String(), "GET /broken") {
		t.Errorf("the log says %q", log.String())
	}
}

type device struct{ err error }

func (d device) Upload(context.Context, authz.Device, []byte) ([]byte, error) {
	return []byte("x"), d.err
}

func (d device) Tell(context.Context, authz.Device, news.News) (news.Receipt, error) {
	return news.Receipt{}, d.err
}

func TestDeliveries(t *testing.T) {
	m := New(Sources{})
	for _, err := range []error{nil, fmt.Errorf("x: %w", delivery.ErrOffline), &delivery.RefusedError{}, errors.New("lost")} {
		d := m.Deliverer(device{err})
		if answer, got := d.Upload(t.Context(), authz.Device{}, nil); string(answer) != "x" || got != err {
			t.Errorf("got %q, %v", answer, got)
		}
		if _, got := d.Tell(t.Context(), authz.Device{}, news.News{}); got != err {
			t.Errorf("got %v, want %v", got, err)
		}
	}
	for _, kind := range []string{"upload", "news"} {
		for _, result := range []string{"confirmed", "offline", "refused", "unknown"} {
			m.has(t, fmt.Sprintf(`latchkey_deliveries_total{kind=%q,result=%q} 1`, kind, result))
		}
	}
}

func TestGauges(t *testing.T) {
	up, end := true, time.Time{}
	m := New(Sources{Ready: func() bool { return up }, CertificateExpiry: func() time.Time { return end }, StoreBytes: func() int64 { return 42 }})
	m.has(t, "latchkey_ready 1", "latchkey_certificate_expiry_timestamp_seconds 0", "latchkey_store_bytes 42")
	up, end = false, time.Unix(1_700_000_000, 0)
	m.has(t, "latchkey_ready 0", "latchkey_certificate_expiry_timestamp_seconds 1.7e+09")
	if text := scrape(t, New(Sources{})); strings.Contains(text, "latchkey_ready") || !strings.Contains(text, "latchkey_build_info{") {
		t.Error("without sources there are build_info and no gauges")
	}
}

// TestReasons: what is of one request only stands in no label.
func TestReasons(t *testing.T) {
	for reason, want := range map[string]string{
		"no grant": "no grant", `more than was granted; attested by "acme": service, app "a", key hardware, os verified, at 2026-11-22T19:00:00Z`: "more than was granted",
		"client authentication: the proof of the instance key is not valid here: signature":         "client authentication",
		`the device wants more of the app: a phone with an unchanged system; attested by "x": none`: "the device wants more of the app: a phone with an unchanged system",
		"something else": "other",
	} {
		if got := reasonOf(reason); got != want {
			t.Errorf("%q: got %q, want %q", reason, got, want)
		}
	}
}
