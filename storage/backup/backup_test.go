package backup_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/latchkey-ace/latchkey/storage/backup"
)

func pair(t testing.TB) (backup.Recipients, backup.Keys) {
	t.Helper()
	public, secret, err := backup.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	to, err1 := backup.ParseRecipient(public)
	keys, err2 := backup.ParseKeys(strings.NewReader("# a key\n" + secret + "\n"))
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return to, keys
}

var header = backup.Header{Schema: 4, Made: time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC), Issuer: "https://as.example", StoreKey: bytes.Repeat([]byte{7}, 32)}

var values = []any{nil, int64(0), int64(-1), int64(math.MaxInt64), int64(math.MinInt64), "", "ö\u2028<\"\\", "null", "[1]", []byte{}, []byte{0, 255}}

func write(t testing.TB, to backup.Recipients) []byte {
	t.Helper()
	var file bytes.Buffer
	w, err := backup.NewWriter(&file, to, header)
	if err != nil {
		t.Fatal(err)
	}
	columns := make([]string, len(values))
	for i := range columns {
		columns[i] = fmt.Sprint("c", i)
	}
	long := bytes.Clone(bytes.Repeat([]byte("x"), 200_000)) // more than a buffer
	err = errors.Join(w.Table(backup.Table{Name: "all", Columns: columns}), w.Row(values), w.Row(values),
		w.Table(backup.Table{Name: "none", Columns: []string{"a"}}), w.Table(backup.Table{Name: "one", Columns: []string{"a"}}), w.Row([]any{long}))
	count, closed := w.Close()
	if err := errors.Join(err, closed); err != nil || count != (backup.Count{Tables: 3, Rows: 3}) {
		t.Fatalf("%+v, %v", count, err)
	}
	return file.Bytes()
}

func read(file []byte, keys backup.Keys) (h backup.Header, rows map[string][][]any, err error) {
	r, err := backup.Open(bytes.NewReader(file), keys)
	if err != nil {
		return h, nil, err
	}
	rows = map[string][][]any{}
	for {
		table, row, err := r.Next()
		if errors.Is(err, io.EOF) {
			return r.Header, rows, nil
		}
		if err != nil {
			return h, nil, err
		}
		if rows[table.Name] == nil {
			rows[table.Name] = [][]any{}
		}
		if row != nil {
			rows[table.Name] = append(rows[table.Name], row)
		}
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	to, keys := pair(t)
	got, rows, err := read(write(t, to), keys)
	want := header
	want.Version = 1
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("header: got %#v, %v", got.Made, err)
	}
	if !reflect.DeepEqual(rows["all"], [][]any{values, values}) || len(rows["none"]) != 0 || len(rows["one"]) != 1 || len(rows) != 3 {
		t.Errorf("got %v", rows["all"])
	}
}

func TestPassphrase(t *testing.T) {
	to, err := backup.ToPassphrase("a long passphrase")
	if err != nil {
		t.Fatal(err)
	}
	file := write(t, to)
	keys, err := backup.Passphrase("a long passphrase")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := read(file, keys); err != nil {
		t.Error(err)
	}
	wrong, err := backup.Passphrase("a long passphrasE")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := read(file, wrong); !errors.Is(err, backup.ErrKey) {
		t.Errorf("wrong passphrase: got %v", err)
	}
	if _, err := backup.ToPassphrase("short"); err == nil {
		t.Error("a short passphrase was taken")
	}
	if _, err := backup.Passphrase(""); err == nil {
		t.Error("an empty passphrase was taken")
	}
}

func TestTruncatedAtEachByte(t *testing.T) {
	to, keys := pair(t)
	file := write(t, to)
	for n := 0; n < len(file); n += 1 + n/60 {
		if _, _, err := read(file[:n], keys); err == nil {
			t.Fatalf("%d of %d bytes were taken for a backup", n, len(file))
		}
	}
	for n := 0; n < len(file); n += 1 + n/40 {
		changed := bytes.Clone(file)
		changed[n] ^= 0x40
		if _, _, err := read(changed, keys); err == nil {
			t.Fatalf("byte %d changed, and taken for a backup", n)
		}
	}
}

// sealed is text as somebody with the public key may encrypt it.
func sealed(t testing.TB, public, text string) []byte {
	t.Helper()
	to, err := age.ParseX25519Recipient(public)
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	w, err := age.Encrypt(&file, to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

const (
	goodHeader = `{"latchkey_backup":1,"schema":4,"made":"2026-11-22T19:00:00Z","issuer":"x","store_key":"BwcH"}` + "\n"
	goodTable  = `{"table":"t","columns":["a","b"]}` + "\n"
)

var badTexts = []struct{ name, text string }{
	{"nothing", ""},
	{"no header", goodTable},
	{"another format", strings.Replace(goodHeader, `p":1`, `p":2`, 1)},
	{"a header with more in it", strings.Replace(goodHeader, `{`, `{"more":1,`, 1)},
	{"a header alone", goodHeader},
	{"a row of no table", goodHeader + "[1,2]\n" + `{"tables":0,"rows":1}` + "\n"},
	{"a row that is too short", goodHeader + goodTable + "[1]\n" + `{"tables":1,"rows":1}` + "\n"},
	{"a row that is too long", goodHeader + goodTable + "[1,2,3]\n" + `{"tables":1,"rows":1}` + "\n"},
	{"a fraction", goodHeader + goodTable + "[1,2.5]\n" + `{"tables":1,"rows":1}` + "\n"},
	{"a number that does not fit", goodHeader + goodTable + "[1,9223372036854775808]\n" + `{"tables":1,"rows":1}` + "\n"},
	{"true", goodHeader + goodTable + "[1,true]\n" + `{"tables":1,"rows":1}` + "\n"},
	{"bytes that are not base64", goodHeader + goodTable + `[1,["*"]]` + "\n" + `{"tables":1,"rows":1}` + "\n"},
	{"bytes of two texts", goodHeader + goodTable + `[1,["AA==","AA=="]]` + "\n" + `{"tables":1,"rows":1}` + "\n"},
	{"a table without columns", goodHeader + `{"table":"t","columns":[]}` + "\n" + `{"tables":1,"rows":0}` + "\n"},
	{"a table without a name", goodHeader + `{"table":"","columns":["a"]}` + "\n" + `{"tables":1,"rows":0}` + "\n"},
	{"too few rows", goodHeader + goodTable + "[1,2]\n" + `{"tables":1,"rows":2}` + "\n"},
	{"no end", goodHeader + goodTable + "[1,2]\n"},
	{"something after the end", goodHeader + goodTable + "[1,2]\n" + `{"tables":1,"rows":1}` + "\n\n"},
	{"two values in a line", goodHeader + goodTable + "[1,2] [1,2]\n" + `{"tables":1,"rows":1}` + "\n"},
	{"an empty line", goodHeader + "\n" + goodTable + `{"tables":1,"rows":0}` + "\n"},
	{"a line without end", goodHeader + strings.Repeat("x", 17<<20)},
}

func TestTextsThatAreNoBackup(t *testing.T) {
	public, secret, err := backup.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := backup.ParseKeys(strings.NewReader(secret))
	if err != nil {
		t.Fatal(err)
	}
	good := goodHeader + goodTable + `["a",["AA=="]]` + "\n" + `{"tables":1,"rows":1}` + "\n"
	if _, rows, err := read(sealed(t, public, good), keys); err != nil || !reflect.DeepEqual(rows["t"], [][]any{{"a", []byte{0}}}) {
		t.Fatalf("the good one: %v, %v", rows, err)
	}
	for _, tt := range badTexts {
		if _, _, err := read(sealed(t, public, tt.text), keys); err == nil {
			t.Errorf("%s: taken for a backup", tt.name)
		}
	}
}

func FuzzRead(f *testing.F) {
	public, secret, err := backup.GenerateKey()
	if err != nil {
		f.Fatal(err)
	}
	keys, err := backup.ParseKeys(strings.NewReader(secret))
	if err != nil {
		f.Fatal(err)
	}
	for _, tt := range badTexts[:len(badTexts)-1] {
		f.Add(tt.text)
	}
	f.Add(goodHeader + goodTable + `["a",["AA=="]]` + "\n" + `{"tables":1,"rows":1}` + "\n")
	f.Fuzz(func(t *testing.T, text string) {
		_, rows, err := read(sealed(t, public, text), keys)
		if err != nil {
			return
		}
		for name, list := range rows {
			for _, row := range list {
				if name == "" || len(row) == 0 {
					t.Errorf("table %q has a row %v", name, row)
				}
			}
		}
	})
}

func TestBadRowsAreNotWritten(t *testing.T) {
	to, _ := pair(t)
	for name, row := range map[string][]any{
		"too many values": {"a", "b"}, "no UTF-8": {"\xff"}, "a type of no column": {1.5}, "too long": {bytes.Repeat([]byte{1}, 17<<20)},
	} {
		w, err := backup.NewWriter(io.Discard, to, header)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.Table(backup.Table{Name: "t", Columns: []string{"a"}}), w.Row(row)); err == nil {
			t.Errorf("%s: written", name)
		}
	}
	if _, err := backup.NewWriter(io.Discard, backup.Recipients{}, header); err == nil {
		t.Error("a backup for nobody")
	}
}

func TestKeysThatAreRefused(t *testing.T) {
	_, secret, err := backup.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"nothing": "", "a comment": "# x\n", "a secret key": secret, "a word": "age1"} {
		if _, err := backup.ParseRecipient(text); err == nil || strings.Contains(err.Error(), "SECRET-KEY-1"+secret[16:20]) {
			t.Errorf("%s as a public key: got %v", name, err)
		}
	}
	for name, text := range map[string]string{"nothing": "", "a broken key": secret[:len(secret)-1]} {
		if _, err := backup.ParseKeys(strings.NewReader(text)); err == nil || strings.Contains(err.Error(), secret[20:30]) {
			t.Errorf("%s as a secret key: got %v", name, err)
		}
	}
	keys, err := backup.ParseKeys(strings.NewReader(secret))
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		if text := fmt.Sprintf(verb, keys) + fmt.Sprintf(verb, header); strings.Contains(text, "0707") || strings.Contains(text, "SECRET") || strings.Contains(text, "7, 7") {
			t.Errorf("%s shows %s", verb, text)
		}
	}
}

func TestFileAppearsWholeOrNotAtAll(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "backup.age")
	f, err := backup.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("it is there before it is whole")
	}
	f.Discard()
	entries, err := os.ReadDir(folder)
	if err != nil || len(entries) != 0 {
		t.Errorf("%d files left, %v", len(entries), err)
	}
	for n := range 2 {
		f, err := backup.Create(path)
		if n == 1 {
			if err == nil || !strings.Contains(err.Error(), "exists") {
				t.Errorf("over a file: got %v", err)
			}
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Commit(); err != nil {
			t.Fatal(err)
		}
		f.Discard()
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v", info, err)
	}
	// A name that was taken while the file was written is not written over.
	late := filepath.Join(folder, "late.age")
	f, err = backup.Create(late)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Discard()
	if err := os.WriteFile(late, []byte("theirs"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Commit(); err == nil {
		t.Error("written over another's file")
	}
	if data, err := os.ReadFile(late); err != nil || string(data) != "theirs" {
		t.Errorf("got %q, %v", data, err)
	}
}
