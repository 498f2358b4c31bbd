package migrations

import (
	"strings"
	"testing"
)

func TestOldest(t *testing.T) {
	tests := []struct {
		name    string
		all     []int64
		waiting []int64
		want    int64
	}{
		{"every migration is needed", []int64{1, 2, 3}, nil, 3},
		{"the newest may wait", []int64{1, 2, 3}, []int64{3}, 2},
		{"two may wait", []int64{1, 2, 3, 4}, []int64{3, 4}, 2},
		{"one that a later one stands on is needed with it", []int64{1, 2, 3, 4}, []int64{3}, 4},
		{"one that nobody made", []int64{1, 2}, []int64{7}, 2},
	}
	for _, tt := range tests {
		if got := oldest(tt.all, tt.waiting); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestCheckSaysWhatToDo(t *testing.T) {
	for version, says := range map[int64]string{
		Newest(): "", Oldest(): "", Newest() + 1: "newer program", Oldest() - 1: "latchkey migrate", 1: "latchkey migrate",
	} {
		err := Check(version)
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("version %d: got %v, want %q", version, err, says)
		}
	}
	for version, good := range map[int64]bool{1: true, Newest(): true, Newest() + 1: false, 0: false, -1: false} {
		if err := Known(version); (err == nil) != good {
			t.Errorf("version %d: got %v", version, err)
		}
	}
}
