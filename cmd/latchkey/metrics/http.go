package metrics

import (
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"
)

// HTTP counts the requests that next serves, by the pattern of the http.ServeMux within it. A request whose handler
// panics is answered with 500 and logged; the server goes on (faults.md F121).
func (m *Metrics) HTTP(next http.Handler, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start, out := time.Now(), &recorded{ResponseWriter: w}
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler {
					panic(p)
				}
				m.panics.Inc()
				log.Error("panic", "endpoint", r.Pattern, "panic", p, "stack", string(debug.Stack()))
				if out.status == 0 {
					http.Error(out, "server error", http.StatusInternalServerError)
				}
			}
			m.served(r.Pattern, out.status, time.Since(start))
		}()
		next.ServeHTTP(out, r)
	})
}

// served takes the pattern from the routing table, never the path; what no pattern matched counts together.
func (m *Metrics) served(pattern string, status int, took time.Duration) {
	if pattern == "" {
		pattern = other
	}
	if status == 0 {
		status = http.StatusOK
	}
	class := other
	if i := status / 100; i > 0 && i < len(statuses) {
		class = statuses[i]
	}
	m.requests.WithLabelValues(pattern, class).Inc()
	m.times.WithLabelValues(pattern).Observe(took.Seconds())
}

// recorded notes the status.
type recorded struct {
	http.ResponseWriter
	status int
}

func (r *recorded) WriteHeader(status int) {
	if r.status == 0 && status >= 200 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorded) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (r *recorded) Unwrap() http.ResponseWriter { return r.ResponseWriter }
