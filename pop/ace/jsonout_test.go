package ace

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
)

func FuzzWriteObject(f *testing.F) {
	f.Add("access_token", "2YotnFZFEjr1zCsicMWpAA", 3600, uint64(1))
	f.Add("", "\"\\<>&\u2028\x00\x7f\xff ö", -1, uint64(1<<63))
	f.Fuzz(func(t *testing.T, name, text string, n int, u uint64) {
		members := map[string]any{
			name: text, "n": n, "u": u, "yes": true, "list": []string{text, name}, "raw": json.RawMessage(`[1]`), "none": nil,
			"inner": map[string]any{text: name, "deep": map[string]any{}}, "empty": map[string]any(nil),
		}
		want, err := json.Marshal(members)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := writeObject(members); err != nil || string(got) != string(want) {
			t.Errorf("got %s (%v), want %s", got, err, want)
		}
	})
}

func BenchmarkTokenResponseJSON(b *testing.B) {
	b.ReportAllocs()
	r := &TokenResponse{
		AccessToken: make([]byte, 240), ExpiresIn: time.Hour, Scope: Scope{Words: "view"}, Profile: pop.ProfileCoAPOSCORE,
		Cnf: &pop.Confirmation{OSCORE: &pop.InputMaterial{ID: make([]byte, 8), MasterSecret: make([]byte, 16), Salt: make([]byte, 8)}},
	}
	for b.Loop() {
		if _, err := r.JSON(); err != nil {
			b.Fatal(err)
		}
	}
}
