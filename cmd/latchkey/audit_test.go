package main

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
)

func TestReadHeads(t *testing.T) {
	text := "the audit log is whole: 9 entries\nhead 1 64 00ff\nhead 2 0 aa\n"
	want := []authz.AuditHead{{Chain: 1, Number: 64, Link: []byte{0, 0xff}}, {Chain: 2, Number: 0, Link: []byte{0xaa}}}
	if got, err := readHeads(strings.NewReader(text)); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	for _, bad := range []string{"", "nothing", "head", "head 1 2", "head 0 1 aa", "head 1 -1 aa", "head x 1 aa", "head 1 1 a", "head 1 1 zz", "head " + strings.Repeat("1", 1<<17)} {
		if got, err := readHeads(strings.NewReader(bad)); err == nil {
			t.Errorf("%.20q: got %v", bad, got)
		}
	}
}

// FuzzReadHeads: what is read is what is printed again.
func FuzzReadHeads(f *testing.F) {
	f.Add([]byte("head 1 64 00ff\nhead 2 0 aa\n"))
	f.Add([]byte("head 9999999999999999999 1 aa"))
	f.Fuzz(func(t *testing.T, data []byte) {
		heads, err := readHeads(bytes.NewReader(data))
		if err != nil {
			return
		}
		var out bytes.Buffer
		for _, h := range heads {
			fmt.Fprintf(&out, "head %d %d %x\n", h.Chain, h.Number, h.Link)
		}
		if again, err := readHeads(&out); err != nil || !reflect.DeepEqual(again, heads) {
			t.Errorf("got %v, %v, want %v", again, err, heads)
		}
	})
}

func TestParseSince(t *testing.T) {
	now := time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{"": {}, "2h": now.Add(-2 * time.Hour), "2026-11-22T18:00:00Z": now.Add(-time.Hour)} {
		if got, err := parseSince(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, bad := range []string{"-2h", "0s", "yesterday", "2026-11-22"} {
		if got, err := parseSince(bad, now); err == nil {
			t.Errorf("%q: got %v", bad, got)
		}
	}
}
