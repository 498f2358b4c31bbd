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
