package pgtest

import (
	"fmt"
	"testing"
)

// Server is a PostgreSQL of one test, which may stop it and start it again. What was committed stays.
type Server struct {
	URL string

	t  *testing.T
	s  *server
	up bool
}

// Own makes a server that runs. It ends with the test.
func Own(t *testing.T) *Server {
	t.Helper()
	if !inUse.Load() {
		t.Fatal("pgtest.Own without pgtest.Main in TestMain")
	}
	s, err := start()
	if err != nil {
		t.Fatalf("PostgreSQL for tests: %v", err)
	}
	own := &Server{URL: fmt.Sprintf("postgres://postgres@127.0.0.1:%s/postgres?sslmode=disable", s.port), t: t, s: s, up: true}
	t.Cleanup(func() {
		own.Stop()
		s.stopped()
	})
	return own
}

// Stop ends it as a crash would; its port answers nobody. A server that is down stays down.
func (o *Server) Stop() {
	if o.up {
		o.s.halt()
		o.up = false
	}
}

// Start runs it again, on the same port.
func (o *Server) Start() {
	o.t.Helper()
	if o.up {
		return
	}
	if err := o.s.serve(); err != nil {
		o.t.Fatalf("PostgreSQL for tests: %v", err)
	}
	o.up = true
}

// Cluster is a PostgreSQL for programs that are no tests.
type Cluster struct {
	URL string
	PID int // of the process whose children do the work

	s *server
}

// NewCluster starts one, which somebody has to Close.
func NewCluster() (*Cluster, error) {
	s, err := start()
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL: %w", err)
	}
	url := fmt.Sprintf("postgres://postgres@127.0.0.1:%s/postgres?sslmode=disable", s.port)
	return &Cluster{URL: url, PID: s.process.Process.Pid, s: s}, nil
}

// Close stops it and removes its files.
func (c *Cluster) Close() { c.s.stop() }
