package tables

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/latchkey-ace/latchkey/storage/backup"
	"github.com/latchkey-ace/latchkey/storage/internal/sqlstore"
)

// filling is an import on its way.
type filling struct {
	q      sqlstore.Querier
	tables map[string]Table
	insert map[string]string // by table: the statement, in the order of the backup's columns
	told   Progress
	count  backup.Count
}

func (f *filling) all(ctx context.Context, r *backup.Reader) error {
	for {
		t, row, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if row == nil {
			err = f.begin(t)
		} else {
			err = f.row(ctx, t, row)
		}
		if err != nil {
			return fmt.Errorf("table %q: %w", t.Name, err)
		}
	}
}

// begin makes the statement for a table. Names go into it only when the store has the same.
func (f *filling) begin(t backup.Table) error {
	ours, known := f.tables[t.Name]
	if !known || f.insert[t.Name] != "" {
		return errors.New("the store has no such table, or it comes twice")
	}
	if names := ours.names(); !slices.Equal(names, t.Columns) {
		return fmt.Errorf("the backup has columns %q, the store %q", t.Columns, names)
	}
	f.insert[t.Name] = ours.insert()
	f.count.Tables++
	return nil
}

func (t *Table) insert() string {
	var places []string
	for i := range t.Columns {
		places = append(places, fmt.Sprintf("$%d", i+1))
	}
	over := ""
	if slices.ContainsFunc(t.Columns, func(c Column) bool { return c.Identity }) {
		over = ` OVERRIDING SYSTEM VALUE`
	}
	return `INSERT INTO ` + t.Name + ` (` + strings.Join(t.names(), `, `) + `)` + over + ` VALUES (` + strings.Join(places, `, `) + `)`
}

func (f *filling) row(ctx context.Context, t backup.Table, row []any) error {
	for i, c := range f.tables[t.Name].Columns {
		if n, ok := row[i].(int64); ok && c.Bool {
			if n != 0 && n != 1 {
				return fmt.Errorf("%d in column %s", n, c.Name)
			}
			row[i] = n == 1
		}
	}
	if _, err := f.q.ExecContext(ctx, f.insert[t.Name], row...); err != nil {
		return err
	}
	if f.count.Rows++; f.count.Rows%progressRows == 0 && f.told != nil {
		f.told(t.Name, f.count.Rows)
	}
	return nil
}
