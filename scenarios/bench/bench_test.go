package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/provision"
)

// TestTokenSizes holds the sizes, which no machine changes, to their goals.
func TestTokenSizes(t *testing.T) {
	b := &bench{dir: t.TempDir()}
	if err := b.sizes(t.Context()); err != nil {
		t.Fatal(err)
	}
	judged := 0
	for _, r := range b.table.rows {
		if r.OK == nil {
			continue
		}
		judged++
		if !*r.OK {
			t.Errorf("%s: %.0f %s, want %s", r.What, r.Figure, r.Unit, r.Goal)
		}
	}
	if judged != 6 {
		t.Errorf("%d sizes have a goal, want 6", judged)
	}
}

// TestAccept lets each shape of device accept what the server issues for it.
func TestAccept(t *testing.T) {
	b := &bench{dir: t.TempDir(), samples: 10}
	h, err := b.newHouse(t.Context(), "accept", provision.ClockNone)
	if err != nil {
		t.Fatal(err)
	}
	defer h.store.Close()
	for _, shape := range shapes {
		took, err := b.acceptAll(t.Context(), h, shape, true, b.samples)
		if err != nil || len(took) != b.samples {
			t.Errorf("%s: %d of %d accepted: %v", shape, len(took), b.samples, err)
		}
	}
}

func TestTable(t *testing.T) {
	slow := row{Part: "Part", What: "slow", Figure: 30, Unit: "µs", Floor: 10, Bare: "bare"}
	var all table
	all.add(slow.atMostTimes(2), slow.atMostTimes(3), slow.atMost(29), row{Part: "Part", What: "free", Figure: 1.234, Unit: "s"})
	var out bytes.Buffer
	all.print(&out)
	var got []string
	for line := range strings.Lines(out.String()) {
		if words := strings.Join(strings.Fields(line), " "); words != "" {
			got = append(got, words)
		}
	}
	want := []string{
		"Part", "what figure floor ratio goal",
		"slow 30 µs bare 10 µs 3× ≤ 2× no",
		"slow 30 µs bare 10 µs 3× ≤ 3× ok",
		"slow 30 µs bare 10 µs 3× ≤ 29 µs no",
		"free 1.23 s — — — —",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	out.Reset()
	if err := all.json(&out); err != nil {
		t.Fatal(err)
	}
	var read struct{ Rows []struct{ Ratio float64 } }
	if err := json.Unmarshal(out.Bytes(), &read); err != nil || len(read.Rows) != 4 || read.Rows[0].Ratio != 3 {
		t.Errorf("got %s (%v), want four rows, the first with ratio 3", out.String(), err)
	}
}
