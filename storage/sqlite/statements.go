package sqlite

import (
	"context"
	"database/sql"
	"regexp"
	"sync"

	"github.com/latchkey-ace/latchkey/storage/internal/sqlstore"
)

// preparer is a *sql.Conn or a *sql.Tx.
type preparer interface {
	PrepareContext(ctx context.Context, statement string) (*sql.Stmt, error)
}

// statements runs SQL in PostgreSQL's spelling, each text prepared once: for SQLite preparing costs more than running.
// The texts are the constants of sqlstore, so there are a few dozen of them.
type statements struct {
	on    preparer
	mu    sync.RWMutex
	known map[string]*sql.Stmt
}

func newStatements(on preparer) *statements {
	return &statements{on: on, known: map[string]*sql.Stmt{}}
}

// ExecContext runs a statement without rows.
func (s *statements) ExecContext(ctx context.Context, text string, args ...any) (sql.Result, error) {
	prepared, err := s.prepared(text)
	if err != nil {
		return nil, err
	}
	return prepared.ExecContext(ctx, args...)
}

// QueryContext runs a statement with rows.
func (s *statements) QueryContext(ctx context.Context, text string, args ...any) (sqlstore.Rows, error) {
	prepared, err := s.prepared(text)
	if err != nil {
		return nil, err
	}
	found, err := prepared.QueryContext(ctx, args...)
	if err != nil {
		return nil, err
	}
	return found, nil
}

func (s *statements) prepared(text string) (*sql.Stmt, error) {
	s.mu.RLock()
	prepared := s.known[text]
	s.mu.RUnlock()
	if prepared != nil {
		return prepared, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if prepared = s.known[text]; prepared != nil {
		return prepared, nil
	}
	prepared, err := s.on.PrepareContext(context.Background(), translate(text))
	if err != nil {
		return nil, err
	}
	s.known[text] = prepared
	return prepared, nil
}

func (s *statements) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, prepared := range s.known {
		prepared.Close()
	}
	clear(s.known)
}

var (
	placeholder = regexp.MustCompile(`\$(\d+)`)
	rowLock     = regexp.MustCompile(`\s+FOR (SHARE|UPDATE)\s*$`)
)

// translate gives SQLite's spelling: ?1 for $1, and no row locks, because a writer holds the whole database.
func translate(text string) string {
	return placeholder.ReplaceAllString(rowLock.ReplaceAllString(text, ""), "?$1")
}
