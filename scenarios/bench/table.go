package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
)

// row is one figure.
type row struct {
	Part   string  `json:"part"`
	What   string  `json:"what"`
	Figure float64 `json:"figure"`
	Unit   string  `json:"unit"`
	More   string  `json:"more,omitempty"` // what belongs to the figure
	Floor  float64 `json:"floor,omitempty"`
	Bare   string  `json:"floor_is,omitempty"`
	Goal   string  `json:"goal,omitempty"`
	OK     *bool   `json:"ok,omitempty"` // nil: there is no goal
}

// ratio is the figure over its floor; 0 without one.
func (r row) ratio() float64 {
	if r.Floor == 0 {
		return 0
	}
	return r.Figure / r.Floor
}

// atMost sets a goal for the figure.
func (r row) atMost(limit float64) row {
	ok := r.Figure <= limit
	r.Goal, r.OK = fmt.Sprintf("≤ %s %s", short(limit), r.Unit), &ok
	return r
}

// atMostTimes sets a goal for the ratio.
func (r row) atMostTimes(limit float64) row {
	ok := r.ratio() <= limit
	r.Goal, r.OK = fmt.Sprintf("≤ %s×", short(limit)), &ok
	return r
}

// atLeastTimes sets a goal for the ratio.
func (r row) atLeastTimes(limit float64) row {
	ok := r.ratio() >= limit
	r.Goal, r.OK = fmt.Sprintf("≥ %s×", short(limit)), &ok
	return r
}

// verdict is ok, no for a goal that was missed, or — where there is none.
func (r row) verdict() string {
	switch {
	case r.OK == nil:
		return "—"
	case *r.OK:
		return "ok"
	}
	return "no"
}

type table struct{ rows []row }

func (t *table) add(rows ...row) { t.rows = append(t.rows, rows...) }

// print writes the parts one below the other.
func (t *table) print(w io.Writer) {
	lines := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	part := ""
	for _, r := range t.rows {
		if r.Part != part {
			part = r.Part
			_ = lines.Flush() // columns are aligned within a part
			fmt.Fprintf(w, "\n%s\n", part)
			fmt.Fprintln(lines, "  what\tfigure\tfloor\tratio\tgoal\t")
		}
		figure := strings.TrimSpace(short(r.Figure) + " " + r.Unit)
		if r.More != "" {
			figure += " (" + r.More + ")"
		}
		floor, ratio, goal := "—", "—", "—"
		if r.Floor != 0 {
			floor, ratio = fmt.Sprintf("%s %s %s", r.Bare, short(r.Floor), r.Unit), short(r.ratio())+"×"
		}
		if r.Goal != "" {
			goal = r.Goal
		}
		fmt.Fprintf(lines, "  %s\t%s\t%s\t%s\t%s\t%s\n", r.What, figure, floor, ratio, goal, r.verdict())
	}
	_ = lines.Flush() // to standard output
}

// json writes the rows with their ratios.
func (t *table) json(w io.Writer) error {
	type line struct {
		row
		Ratio float64 `json:"ratio,omitempty"`
	}
	lines := make([]line, 0, len(t.rows))
	for _, r := range t.rows {
		lines = append(lines, line{r, r.ratio()})
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(map[string]any{"machine": machine(), "rows": lines})
}

// short gives three digits that matter.
func short(f float64) string {
	switch {
	case f >= 100 || f == float64(int64(f)):
		return fmt.Sprintf("%.0f", f)
	case f >= 10:
		return fmt.Sprintf("%.1f", f)
	}
	return fmt.Sprintf("%.2f", f)
}

// machine says where the figures come from.
func machine() string {
	model := "unknown processor"
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.HasPrefix(name, "model name") {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%d × %s, %s/%s, %s", runtime.NumCPU(), model, runtime.GOOS, runtime.GOARCH, runtime.Version())
}
