package trl_test

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/trl"
	"pgregory.net/rapid"
)

func hash(n byte) trl.Hash { return append(trl.Hash{1}, bytes.Repeat([]byte{n}, 32)...) }

func at(n uint64) *uint64 { return &n }

// updates gives n updates whose indexes are first, first+10, …
func updates(first uint64, n int) (list []trl.Update) {
	for i := range n {
		list = append(list, trl.Update{Index: first + uint64(10*i), Added: []trl.Hash{hash(byte(i))}})
	}
	return list
}

func indexes(list []trl.Update) (all []uint64) {
	for _, u := range list {
		all = append(all, u.Index)
	}
	return all
}

// TestAnswer is RFC 9770 §8, its cases in its order.
func TestAnswer(t *testing.T) {
	few := trl.Collection{Full: []trl.Hash{hash(1)}, Updates: updates(100, 3), Before: 90, Dropped: true}
	many := trl.Collection{Updates: updates(100, trl.MaxBatch+4)}
	for _, row := range []struct {
		name   string
		c      trl.Collection
		q      trl.Query
		told   []uint64 // newest first
		cursor *uint64
		more   bool
	}{
		{"nothing ever happened", trl.Collection{}, trl.Query{Diff: at(0)}, nil, nil, false},
		{"nothing ever happened, whatever the cursor", trl.Collection{}, trl.Query{Diff: at(0), Cursor: at(7)}, nil, nil, false},
		{"all there is", few, trl.Query{Diff: at(0)}, []uint64{120, 110, 100}, at(120), false},
		{"the newest two", few, trl.Query{Diff: at(2)}, []uint64{120, 110}, at(120), false},
		{"more than there is", few, trl.Query{Diff: at(99)}, []uint64{120, 110, 100}, at(120), false},
		{"after the first", few, trl.Query{Diff: at(0), Cursor: at(100)}, []uint64{120, 110}, at(120), false},
		{"the newest one after the first", few, trl.Query{Diff: at(1), Cursor: at(100)}, []uint64{120}, at(120), false},
		{"after the last", few, trl.Query{Diff: at(0), Cursor: at(120)}, nil, at(120), false},
		{"after the newest that is not kept", few, trl.Query{Diff: at(0), Cursor: at(90)}, []uint64{120, 110, 100}, at(120), false},
		{"after one that is lost with its successor", few, trl.Query{Diff: at(0), Cursor: at(80)}, nil, nil, true},
		{"after one that never was", few, trl.Query{Diff: at(0), Cursor: at(105)}, nil, nil, true},
		{"the eldest of many first", many, trl.Query{Diff: at(0)}, indexes(reversed(many.Updates[:trl.MaxBatch])), at(250), true},
		{"and the rest", many, trl.Query{Diff: at(0), Cursor: at(250)}, []uint64{290, 280, 270, 260}, at(290), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			a, err := row.c.Answer(row.q)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(indexes(a.Diffs), row.told) || !reflect.DeepEqual(a.Cursor, row.cursor) || a.More != row.more || a.Full != nil {
				t.Errorf("got %v, cursor %v, more %v", indexes(a.Diffs), a.Cursor, a.More)
			}
		})
	}
}

func reversed(list []trl.Update) []trl.Update {
	list = slices.Clone(list)
	slices.Reverse(list)
	return list
}

func TestFullAnswer(t *testing.T) {
	a, err := trl.Collection{Full: []trl.Hash{hash(1)}, Updates: updates(5, 1)}.Answer(trl.Query{})
	if err != nil || len(a.Full) != 1 || a.Cursor == nil || *a.Cursor != 5 {
		t.Errorf("got %v, %v", a, err)
	}
}

// TestRefusals is RFC 9770 §8: each error with its cursor, or without the field.
func TestRefusals(t *testing.T) {
	c := trl.Collection{Updates: updates(100, 2)}
	for _, row := range []struct {
		name       string
		c          trl.Collection
		parameters []string
		want       trl.Error
	}{
		{"diff below zero", c, []string{"diff=-1", "cursor=100"}, trl.Error{ID: trl.InvalidValue}},
		{"diff that is no number", c, []string{"diff=abc"}, trl.Error{ID: trl.InvalidValue}},
		{"diff without a value", c, []string{"diff"}, trl.Error{ID: trl.InvalidValue}},
		{"diff of a second spelling", c, []string{"diff=+1"}, trl.Error{ID: trl.InvalidValue}},
		{"diff twice", c, []string{"diff=1", "diff=2"}, trl.Error{ID: trl.InvalidValue}},
		{"cursor without diff", c, []string{"cursor=5"}, trl.Error{ID: trl.InvalidSet}},
		{"cursor that is no number", c, []string{"diff=1", "cursor=x"}, trl.Error{ID: trl.InvalidValue, HasCursor: true, Cursor: at(110)}},
		{"cursor above all indexes", c, []string{"diff=1", "cursor=9223372036854775808"}, trl.Error{ID: trl.InvalidValue, HasCursor: true, Cursor: at(110)}},
		{"cursor that is no number, nothing there", trl.Collection{}, []string{"diff=1", "cursor=x"}, trl.Error{ID: trl.InvalidValue, HasCursor: true}},
		{"cursor beyond the last", c, []string{"diff=1", "cursor=111"}, trl.Error{ID: trl.CursorOutOfBound}},
	} {
		t.Run(row.name, func(t *testing.T) {
			q, err := row.c.ParseQuery(row.parameters)
			if err == nil {
				_, err = row.c.Answer(q)
			}
			var refused *trl.Error
			if !errors.As(err, &refused) || !reflect.DeepEqual(*refused, row.want) {
				t.Fatalf("got %v, want %v", err, row.want)
			}
			payload, err := refused.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if again, err := trl.ParseError(payload); err != nil || !reflect.DeepEqual(*again, row.want) {
				t.Errorf("%x: got %v, %v", payload, again, err)
			}
		})
	}
}

// TestWire fixes the bytes: labels of RFC 9770 §14.3, null for a cursor that there is none of.
func TestWire(t *testing.T) {
	for name, row := range map[string]struct {
		a    trl.Answer
		want string
	}{
		"full, empty": {trl.Answer{Full: []trl.Hash{}}, "\xa2\x00\x80\x02\xf6"},
		"diff":        {trl.Answer{Diffs: []trl.Update{{Added: []trl.Hash{{1, 2}}}}, Cursor: at(7)}, "\xa3\x01\x81\x82\x80\x81\x42\x01\x02\x02\x07\x03\xf4"},
		"lost":        {trl.Answer{Diffs: []trl.Update{}, More: true}, "\xa3\x01\x80\x02\xf6\x03\xf5"},
	} {
		got, err := row.a.Encode()
		if err != nil || string(got) != row.want {
			t.Errorf("%s: got %x, %v, want %x", name, got, err, row.want)
		}
		again, err := trl.ParseAnswer([]byte(row.want))
		if err != nil {
			t.Fatal(name, err)
		}
		if bytes, err := again.Encode(); err != nil || string(bytes) != row.want {
			t.Errorf("%s: got %x, %v after reading", name, bytes, err)
		}
	}
}

// TestPagingMissesNothing: whoever follows cursors sees every update after his own, once and in order, or learns that
// some are lost.
func TestPagingMissesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := updates(uint64(rapid.IntRange(0, 50).Draw(t, "first")), rapid.IntRange(1, 2*trl.MaxUpdates).Draw(t, "updates"))
		c := trl.Collection{Updates: all[max(0, len(all)-trl.MaxUpdates):]}
		if dropped := len(all) - len(c.Updates); dropped > 0 {
			c.Before, c.Dropped = all[dropped-1].Index, true
		}
		seen := rapid.IntRange(0, len(all)-1).Draw(t, "seen")
		known := seen + 1
		cursor := all[seen].Index
		for {
			a, err := c.Answer(trl.Query{Diff: at(0), Cursor: &cursor})
			if err != nil {
				t.Fatal(err)
			}
			if a.Cursor == nil {
				if len(all)-known <= trl.MaxUpdates {
					t.Fatal("nothing is lost")
				}
				return
			}
			for _, u := range reversed(a.Diffs) {
				if u.Index != all[known].Index {
					t.Fatalf("got %d, want %d", u.Index, all[known].Index)
				}
				known++
			}
			if cursor = *a.Cursor; !a.More {
				break
			}
		}
		if known != len(all) {
			t.Fatalf("%d of %d seen", known, len(all))
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("\xa3\x01\x81\x82\x80\x81\x42\x01\x02\x02\x07\x03\xf4"))
	f.Add([]byte("\xa1\x01\xa2\x00\x00\x01\xf6"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if a, err := trl.ParseAnswer(data); err == nil {
			if _, err := a.Encode(); err != nil {
				t.Error(err)
			}
		}
		if e, err := trl.ParseError(data); err == nil {
			if _, err := e.Encode(); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestLongAnswer: as many hashes as fit come back whole; one more byte is refused.
func TestLongAnswer(t *testing.T) {
	var full []trl.Hash
	for n := range 1800 {
		full = append(full, append(hash(byte(n)), []byte{}...))
	}
	data, err := trl.Answer{Full: full}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := trl.ParseAnswer(data)
	if err != nil || !reflect.DeepEqual(got.Full, full) {
		t.Errorf("got %d hashes of %d, %v", len(got.Full), len(full), err)
	}
	long, err := trl.Answer{Full: append(full, full...)}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := trl.ParseAnswer(long); !errors.Is(err, trl.ErrMalformed) {
		t.Errorf("%d bytes: got %v", len(long), err)
	}
}

// A collection whose updates are all gone tells who asks for what came after one of them that something is missing.
func TestCursorBeforeAnEmptyCollection(t *testing.T) {
	n, floor := uint64(0), uint64(50)
	old := uint64(7)
	for _, tt := range []struct {
		name       string
		collection trl.Collection
		cursor     *uint64
		more       bool
	}{
		{"updates after the cursor are gone", trl.Collection{Before: floor, Dropped: true}, &old, true},
		{"none was after the cursor", trl.Collection{Before: floor, Dropped: true}, &floor, false},
		{"none is gone", trl.Collection{Before: floor}, &old, false},
		{"no cursor", trl.Collection{Before: floor, Dropped: true}, nil, false},
	} {
		answer, err := tt.collection.Answer(trl.Query{Diff: &n, Cursor: tt.cursor})
		if err != nil || answer.More != tt.more || len(answer.Diffs) != 0 || answer.Cursor != nil {
			t.Errorf("%s: got %+v, %v", tt.name, answer, err)
		}
	}
}
