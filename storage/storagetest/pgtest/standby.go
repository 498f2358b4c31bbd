package pgtest

import "fmt"

// Standby makes a server that follows o, asynchronously, and does not run yet. It ends with the test.
func (o *Server) Standby() *Server {
	o.t.Helper()
	s := &server{bin: o.s.bin, as: o.s.as, ended: make(chan error, 1)}
	err := s.place()
	if err == nil {
		err = s.run("pg_basebackup", "-h", "127.0.0.1", "-p", o.s.port, "-U", "postgres", "-D", s.data(), "-R", "-c", "fast", "--no-sync")
	}
	if err != nil {
		o.t.Fatalf("PostgreSQL standby for tests: %v", err)
	}
	standby := &Server{URL: fmt.Sprintf("postgres://postgres@127.0.0.1:%s/postgres?sslmode=disable", s.port), t: o.t, s: s}
	o.t.Cleanup(func() {
		standby.Stop()
		s.stopped()
	})
	return standby
}

// Promote makes a standby that runs a server of its own; it returns once that takes writes.
func (o *Server) Promote() {
	o.t.Helper()
	if err := o.s.run("pg_ctl", "promote", "-w", "-D", o.s.data()); err != nil {
		o.t.Fatalf("PostgreSQL standby for tests: %v", err)
	}
}
