// Package metrics counts what the server does, for Prometheus. It is the only importer of its client library.
//
// Every label has a fixed set of values, so that no stranger can make the server remember more (faults.md F126): what is
// not in the set counts as "other". Start from New.
package metrics

import (
	"context"
	"errors"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/delivery"
	"github.com/latchkey-ace/latchkey/pop/news"
)

// Metrics is one server's counts. It is safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	times    *prometheus.HistogramVec
	panics   prometheus.Counter
	tokens   *prometheus.CounterVec
	refused  *prometheus.CounterVec
	events   *prometheus.CounterVec
	uploads  *prometheus.CounterVec
	writes   *prometheus.HistogramVec
	removed  prometheus.Counter
}

// Sources are asked when somebody reads the metrics. Nil ones are left out.
type Sources struct {
	Ready             func() bool
	CertificateExpiry func() time.Time // zero: no certificate
	StoreBytes        func() int64     // of the built-in store; 0 for others
}

var (
	requestTimes = []float64{.005, .025, .1, .5, 2.5, 10}                      // seconds; a token takes 5 to 20 ms, an upload up to 5 s
	writeTimes   = []float64{.0005, .001, .0025, .005, .01, .025, .1, .5, 2.5} // seconds; a commit is one or two flushes of the disk
)

// New makes empty counts.
func New(s Sources) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: counters("http_requests_total", "HTTP requests by endpoint and class of status.", "endpoint", "status"),
		times: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "latchkey", Name: "http_request_seconds",
			Help: "How long HTTP requests took, by endpoint.", Buckets: requestTimes}, []string{"endpoint"}),
		panics:  prometheus.NewCounter(prometheus.CounterOpts{Namespace: "latchkey", Name: "panics_total", Help: "Requests that met a mistake of the program."}),
		tokens:  counters("token_requests_total", "Token requests of both faces by grant type and result.", "grant_type", "result"),
		refused: counters("refused_total", "Refusals by event and class of reason.", "event", "reason"),
		events:  counters("decisions_total", "Decisions by event and result, token requests aside.", "event", "result"),
		uploads: counters("deliveries_total", "What was sent to devices, by kind and result.", "kind", "result"),
		writes: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "latchkey", Name: "store_write_seconds",
			Help: "How long transactions took until they were durable, by result.", Buckets: writeTimes}, []string{"result"}),
	}
	m.removed = prometheus.NewCounter(prometheus.CounterOpts{Namespace: "latchkey", Name: "store_removed_rows_total", Help: "Rows that housekeeping of this process has removed."})
	m.registry.MustRegister(m.removed, m.requests, m.times, m.panics, m.tokens, m.refused, m.events, m.uploads, m.writes,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), build())
	m.registry.MustRegister(s.gauges()...)
	return m
}

// Removed counts rows that housekeeping has removed.
func (m *Metrics) Removed(n int) { m.removed.Add(float64(n)) }

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "latchkey", Name: name, Help: help}, labels)
}

func (s Sources) gauges() []prometheus.Collector {
	var all []prometheus.Collector
	add := func(name, help string, value func() float64) {
		all = append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "latchkey", Name: name, Help: help}, value))
	}
	if s.Ready != nil {
		add("ready", "1 if /readyz says ok.", func() float64 {
			if s.Ready() {
				return 1
			}
			return 0
		})
	}
	if s.CertificateExpiry != nil {
		add("certificate_expiry_timestamp_seconds", "When the certificate of HTTPS ends; 0 without one.", func() float64 {
			if at := s.CertificateExpiry(); !at.IsZero() {
				return float64(at.Unix())
			}
			return 0
		})
	}
	if s.StoreBytes != nil {
		add("store_bytes", "Size of the built-in store's files.", func() float64 { return float64(s.StoreBytes()) })
	}
	return all
}

func build() prometheus.Collector {
	version, revision, goVersion := "", "", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		version, goVersion = info.Main.Version, info.GoVersion
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "latchkey", Name: "build_info", Help: "1, with what this program was built from.",
		ConstLabels: prometheus.Labels{"version": version, "revision": revision, "go": goVersion}}, func() float64 { return 1 })
}

// Handler serves the counts.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Observe is for authz.Options.
func (m *Metrics) Observe(o authz.Observation) {
	event, result := among(o.Event, events), among(o.Result, results)
	if o.Event == "token" {
		m.tokens.WithLabelValues(among(o.GrantType, grantTypes), result).Inc()
	} else {
		m.events.WithLabelValues(event, result).Inc()
	}
	if o.Result == "refused" {
		m.refused.WithLabelValues(event, reasonOf(o.Reason)).Inc()
	}
}

// StoreWrite is for storage.Options.
func (m *Metrics) StoreWrite(took time.Duration, err error) {
	result := "ok"
	switch {
	case errors.Is(err, authz.ErrUnavailable):
		result = "unavailable"
	case err != nil:
		result = "refused"
	}
	m.writes.WithLabelValues(result).Observe(took.Seconds())
}

// Deliverer counts what next delivers.
func (m *Metrics) Deliverer(next authz.Deliverer) authz.Deliverer { return counted{next, m} }

type counted struct {
	authz.Deliverer
	metrics *Metrics
}

func (c counted) Upload(ctx context.Context, d authz.Device, payload []byte) ([]byte, error) {
	answer, err := c.Deliverer.Upload(ctx, d, payload)
	c.metrics.delivered("upload", err)
	return answer, err
}

func (c counted) Tell(ctx context.Context, d authz.Device, n news.News) (news.Receipt, error) {
	receipt, err := c.Deliverer.Tell(ctx, d, n)
	c.metrics.delivered("news", err)
	return receipt, err
}

func (m *Metrics) delivered(kind string, err error) {
	var refused *delivery.RefusedError
	result := "confirmed"
	switch {
	case errors.Is(err, delivery.ErrOffline):
		result = "offline"
	case errors.As(err, &refused):
		result = "refused"
	case err != nil:
		result = "unknown"
	}
	m.uploads.WithLabelValues(kind, result).Inc()
}
