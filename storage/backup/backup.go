// Package backup is the file that a store is saved to: one format for every engine, encrypted with age to a key that lies
// outside of the store (docs/adr/0046). It is the only importer of filippo.io/age.
//
// Inside, the file is text: a header, then for each table its name and columns and a line for each row, then a line that
// counts them. The package knows no SQL; storage reads and writes tables with it. Start from Create and Open.
package backup

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"filippo.io/age"
)

// version of the format. A reader refuses any other.
const version = 1

// Header is the first line.
type Header struct {
	Version  int       `json:"latchkey_backup"`
	Schema   int64     `json:"schema"` // of the tables, as package migrations counts
	Made     time.Time `json:"made"`
	Issuer   string    `json:"issuer"`
	Config   string    `json:"config"`    // the server's configuration, as the file was
	StoreKey []byte    `json:"store_key"` // what is sealed in the tables opens with it
}

// Format hides the store key from every verb.
func (h Header) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "backup of %s, made %s, tables of version %d", h.Issuer, h.Made.Format(time.RFC3339), h.Schema)
}

// Table is what begins the rows of a table.
type Table struct {
	Name    string   `json:"table"`
	Columns []string `json:"columns"`
}

// Count is the last line: a file without it is not whole.
type Count struct {
	Tables int   `json:"tables"`
	Rows   int64 `json:"rows"`
}

// Writer writes a backup. Nothing of it opens before Close has returned nil.
type Writer struct {
	sealed  io.WriteCloser
	out     *bufio.Writer
	columns int // of the current table
	count   Count
	line    []byte
}

// NewWriter begins a backup.
func NewWriter(w io.Writer, to Recipients, h Header) (*Writer, error) {
	if len(to.list) == 0 {
		return nil, errors.New("a backup needs a key to be encrypted to")
	}
	sealed, err := age.Encrypt(w, to.list...)
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	b := &Writer{sealed: sealed, out: bufio.NewWriterSize(sealed, bufferSize)}
	h.Version = version
	return b, b.json(h)
}

func (w *Writer) json(value any) error {
	line, err := json.Marshal(value)
	if err != nil {
		return err
	}
	_, err = w.out.Write(append(line, '\n'))
	return err
}

// Table begins the rows of a table.
func (w *Writer) Table(t Table) error {
	if t.Name == "" || len(t.Columns) == 0 || len(t.Columns) > maxColumns {
		return fmt.Errorf("table %q has %d columns", t.Name, len(t.Columns))
	}
	w.columns = len(t.Columns)
	w.count.Tables++
	return w.json(t)
}

// Row writes a row of the current table: nil, int64, string and []byte.
func (w *Writer) Row(values []any) (err error) {
	if len(values) != w.columns {
		return fmt.Errorf("a row of %d values in a table of %d columns", len(values), w.columns)
	}
	if w.line, err = appendRow(w.line[:0], values); err != nil {
		return err
	}
	if len(w.line) > maxLine {
		return fmt.Errorf("a row of %d bytes; %d are the most", len(w.line), maxLine)
	}
	w.count.Rows++
	_, err = w.out.Write(w.line)
	return err
}

// Close ends the backup; it does not close what it was written to.
func (w *Writer) Close() (Count, error) {
	err := w.json(w.count)
	if err == nil {
		err = w.out.Flush()
	}
	if err == nil {
		err = w.sealed.Close()
	}
	return w.count, err
}

// Reader reads a backup. What it gives is authentic, but only io.EOF of Next says that it was all.
type Reader struct {
	Header Header
	in     *bufio.Reader
	table  Table
	count  Count
}

// ErrKey says that a backup does not open with the keys given.
var ErrKey = errors.New("it was made to another key or passphrase")

// Open begins to read. Errors: ErrKey, or one that says that the file is no backup or was changed.
func Open(r io.Reader, keys Keys) (*Reader, error) {
	opened, err := age.Decrypt(r, keys.list...)
	if errors.As(err, new(*age.NoIdentityMatchError)) {
		return nil, ErrKey
	}
	if err != nil {
		return nil, fmt.Errorf("not a backup, or not whole: %w", err)
	}
	b := &Reader{in: bufio.NewReaderSize(opened, bufferSize)}
	line, err := b.line()
	if err != nil {
		return nil, err
	}
	if err := strict(line, &b.Header); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if b.Header.Version != version {
		return nil, fmt.Errorf("a backup of format %d, and this program reads %d: use the program that it was made with, or a newer one",
			b.Header.Version, version)
	}
	return b, nil
}

// Next reads the next row and the table it is of. A table without rows is told of once, with a nil row. io.EOF: that was
// all, and nothing is missing.
func (r *Reader) Next() (Table, []any, error) {
	line, err := r.line()
	if err != nil {
		return Table{}, nil, err
	}
	if line[0] == '[' {
		values, err := parseRow(line)
		if err == nil && (r.table.Name == "" || len(values) != len(r.table.Columns)) {
			err = fmt.Errorf("table %q: a row of %d values", r.table.Name, len(values))
		}
		r.count.Rows++
		return r.table, values, err
	}
	var next Table
	if strict(line, &next) == nil && next.Name != "" && len(next.Columns) > 0 && len(next.Columns) <= maxColumns {
		r.table = next
		r.count.Tables++
		return r.table, nil, nil
	}
	return Table{}, nil, r.end(line)
}

// end reads the last line, and makes sure that it is the last.
func (r *Reader) end(line []byte) error {
	var count Count
	if err := strict(line, &count); err != nil {
		return fmt.Errorf("a line that is neither table, row nor end: %w", err)
	}
	if count != r.count {
		return fmt.Errorf("%d tables with %d rows where %d with %d were written", r.count.Tables, r.count.Rows, count.Tables, count.Rows)
	}
	switch _, err := r.in.ReadByte(); {
	case errors.Is(err, io.EOF):
		return io.EOF
	case err != nil:
		return fmt.Errorf("not whole: %w", err)
	}
	return errors.New("something follows the end")
}

// line reads a line without its end. Any end of the file is before the last line.
func (r *Reader) line() ([]byte, error) {
	var long []byte
	for {
		part, err := r.in.ReadSlice('\n')
		switch {
		case len(long)+len(part) > maxLine:
			return nil, fmt.Errorf("a line of more than %d bytes", maxLine)
		case errors.Is(err, bufio.ErrBufferFull):
			long = append(long, part...)
			continue
		case errors.Is(err, io.EOF):
			return nil, errors.New("not whole: the end is missing")
		case err != nil:
			return nil, fmt.Errorf("not whole, or changed: %w", err)
		case long != nil:
			part = append(long, part...)
		}
		if len(part) < 2 {
			return nil, errors.New("an empty line")
		}
		return part[:len(part)-1], nil
	}
}
