package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"github.com/latchkey-ace/latchkey/authz"
)

// healthHandler serves those who watch the server. It says nothing that a stranger could use, asks for no password and
// changes nothing.
func (s *service) healthHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		why := s.unready(r.Context())
		if why == "" {
			_, _ = io.WriteString(w, "ok\n")
			return
		}
		http.Error(w, why, http.StatusServiceUnavailable)
	})
	mux.Handle("GET /metrics", s.metrics.Handler())
	return mux
}

// operatorHandler serves the socket in the server's folder: who may open it is the operator.
func (s *service) operatorHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", s.healthHandler())
	mux.HandleFunc("/api/v1/", func(w http.ResponseWriter, r *http.Request) {
		h := s.house.Load()
		if h == nil {
			waiting(w, r)
			return
		}
		adminHandler(h.server, s.log).ServeHTTP(w, r)
	})
	return mux
}

// unready says in a word why requests should go elsewhere: "starting", "draining" or "store"; "" if they should come.
func (s *service) unready(ctx context.Context) string {
	switch s.phase.Load() {
	case starting:
		return "starting"
	case draining:
		return "draining"
	}
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	if h := s.house.Load(); h == nil || !answers(ctx, h.store) {
		return "store"
	}
	return ""
}

// answers asks for what nobody is called.
func answers(ctx context.Context, store authz.Store) bool {
	done := make(chan error, 1)
	go func() {
		_, err := store.User(ctx, "")
		done <- err
	}()
	select {
	case err := <-done:
		return err == nil || errors.Is(err, authz.ErrNotFound)
	case <-ctx.Done():
		return false
	}
}

// storeBytes is the size of the built-in store with its log.
func storeBytes(dir string) (n int64) {
	files, err := filepath.Glob(filepath.Join(dir, dbFile+"*"))
	if err != nil {
		return 0
	}
	for _, name := range files {
		if info, err := os.Stat(name); err == nil {
			n += info.Size()
		}
	}
	return n
}
