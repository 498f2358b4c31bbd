package latchkey_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var conformanceRow = regexp.MustCompile("(?m)^\\| .* \\| `([a-z0-9/]+)` (Test[A-Za-z0-9]+) \\|$")

// TestConformanceNamesTests: a row of docs/conformance.md whose test is gone is a claim without ground.
func TestConformanceNamesTests(t *testing.T) {
	page, err := os.ReadFile("docs/conformance.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := conformanceRow.FindAllStringSubmatch(string(page), -1)
	if tables := strings.Count(string(page), "\n|---|---|"); len(rows) != strings.Count(string(page), "\n|")-2*tables || len(rows) < 40 {
		t.Errorf("only %d rows can be read", len(rows))
	}
	for _, row := range rows {
		if !has(t, row[1], row[2]) {
			t.Errorf("%s has no test %s", row[1], row[2])
		}
	}
}

func has(t *testing.T, folder, test string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "\nfunc "+test+"(") {
			return true
		}
	}
	return false
}
