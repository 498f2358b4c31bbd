// Package tables reads and writes whole tables as rows of plain values, whichever engine holds them: what a backup needs.
//
// It knows no row's meaning; sealed columns stay sealed. An engine tells of its tables by a catalog. Start from Export and
// Import.
package tables

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/latchkey-ace/latchkey/storage/backup"
	"github.com/latchkey-ace/latchkey/storage/internal/sqlstore"
)

// Column of a table.
type Column struct {
	Name     string
	Bool     bool // true and false, where other engines have 1 and 0
	Identity bool // numbered by the engine, which must go on after the highest number
}

// Table of an engine.
type Table struct {
	Name    string
	Columns []Column
	After   []string // tables that it refers to, whose rows must be there first
}

func (t *Table) names() []string {
	var list []string
	for _, c := range t.Columns {
		list = append(list, c.Name)
	}
	return list
}

// Progress is told how many rows are done, every few thousand.
type Progress func(table string, rows int64)

const progressRows = 50_000 // between two calls of Progress

// Order sorts tables by name, but each behind those it refers to.
func Order(all []Table) ([]Table, error) {
	slices.SortFunc(all, func(a, b Table) int { return strings.Compare(a.Name, b.Name) })
	placed := map[string]bool{}
	var ordered []Table
	for len(ordered) < len(all) {
		before := len(ordered)
		for _, t := range all {
			waits := slices.ContainsFunc(t.After, func(name string) bool { return name != t.Name && !placed[name] })
			if !placed[t.Name] && !waits {
				placed[t.Name] = true
				ordered = append(ordered, t)
			}
		}
		if len(ordered) == before {
			return nil, errors.New("tables refer to each other in a circle")
		}
	}
	return ordered, nil
}

// Export writes every row. The Querier must see one state of the database throughout.
func Export(ctx context.Context, q sqlstore.Querier, all []Table, w *backup.Writer, told Progress) error {
	ordered, err := Order(all)
	if err != nil {
		return err
	}
	var rows int64
	for _, t := range ordered {
		if rows, err = export(ctx, q, t, w, rows, told); err != nil {
			return fmt.Errorf("table %s: %w", t.Name, err)
		}
	}
	return nil
}

func export(ctx context.Context, q sqlstore.Querier, t Table, w *backup.Writer, done int64, told Progress) (int64, error) {
	if err := w.Table(backup.Table{Name: t.Name, Columns: t.names()}); err != nil {
		return done, err
	}
	rows, err := q.QueryContext(ctx, `SELECT `+strings.Join(t.names(), `, `)+` FROM `+t.Name)
	if err != nil {
		return done, err
	}
	defer rows.Close()
	values, into := make([]any, len(t.Columns)), make([]any, len(t.Columns))
	for i := range values {
		into[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return done, err
		}
		for i, v := range values {
			values[i] = plain(v)
		}
		if err := w.Row(values); err != nil {
			return done, err
		}
		if done++; done%progressRows == 0 && told != nil {
			told(t.Name, done)
		}
	}
	return done, rows.Err()
}

func plain(value any) any {
	if yes, ok := value.(bool); ok {
		if yes {
			return int64(1)
		}
		return int64(0)
	}
	return value
}

// ErrNotEmpty says that a store holds something already.
var ErrNotEmpty = errors.New("the store is not empty, and a restore never writes over anything: give an empty one")

// Import fills empty tables, within the caller's transaction. The tables must be those of the backup.
func Import(ctx context.Context, q sqlstore.Querier, all []Table, r *backup.Reader, told Progress) (backup.Count, error) {
	if err := empty(ctx, q, all); err != nil {
		return backup.Count{}, err
	}
	fill := filling{q: q, tables: map[string]Table{}, insert: map[string]string{}, told: told}
	for _, t := range all {
		fill.tables[t.Name] = t
	}
	err := fill.all(ctx, r)
	if err == nil && len(fill.insert) != len(all) {
		err = fmt.Errorf("the backup has %d tables, the store %d", len(fill.insert), len(all))
	}
	return fill.count, err
}

func empty(ctx context.Context, q sqlstore.Querier, all []Table) error {
	for _, t := range all {
		rows, err := q.QueryContext(ctx, `SELECT 1 FROM `+t.Name+` LIMIT 1`)
		if err != nil {
			return err
		}
		some := rows.Next()
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return err
		}
		if some {
			return ErrNotEmpty
		}
	}
	return nil
}
