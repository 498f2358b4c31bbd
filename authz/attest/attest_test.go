package attest_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz/attest"
)

var evening = time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC)

func found(change func(*attest.Verdict)) attest.Verdict {
	v := attest.Verdict{Kind: attest.KeyAttestation, App: "com.example.door", Key: attest.KeyHardware, System: attest.SystemVerified, At: evening}
	if change != nil {
		change(&v)
	}
	return v
}

func demand(t *testing.T, text string) attest.Demand {
	t.Helper()
	d, err := attest.ParseDemand(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return d
}

// TestLack: a better phone will do, a worse one will not, and the first lack is told.
func TestLack(t *testing.T) {
	for _, tt := range []struct {
		name, demand string
		v            attest.Verdict
		after        time.Duration
		want         attest.Lack
	}{
		{"all of it", "key=hardware,os=verified,age=5m", found(nil), 5 * time.Minute, attest.LackNone},
		{"a chip of its own is better than hardware", "key=hardware", found(func(v *attest.Verdict) { v.Key = attest.KeyStrongBox }), 0, attest.LackNone},
		{"hardware is no chip of its own", "key=strongbox", found(nil), 0, attest.LackKey},
		{"software", "key=hardware", found(func(v *attest.Verdict) { v.Key = attest.KeySoftware }), 0, attest.LackKey},
		{"nobody said where the key is", "key=software", found(func(v *attest.Verdict) { v.Key = attest.KeyUnknown }), 0, attest.LackKey},
		{"a degraded system", "os=verified", found(func(v *attest.Verdict) { v.System = attest.SystemDegraded }), 0, attest.LackSystem},
		{"an unknown system where a degraded one would do", "os=degraded", found(func(v *attest.Verdict) { v.System = attest.SystemUnknown }), 0, attest.LackSystem},
		{"a second too old", "age=5m", found(nil), 5*time.Minute + time.Second, attest.LackFresh},
		{"nobody has looked", "age=5m", attest.Verdict{}, 0, attest.LackApp},
		{"another kind", "kind=app-attest", found(nil), 0, attest.LackKind},
		{"one of two kinds", "kind=app-attest,kind=key-attestation", found(nil), 0, attest.LackNone},
		{"for development", "key=software", found(func(v *attest.Verdict) { v.Kind = attest.Development }), 0, attest.LackKind},
		{"for development, where that will do", "kind=development", found(func(v *attest.Verdict) { v.Kind = attest.Development }), 0, attest.LackNone},
		{"the key before the system", "key=strongbox,os=verified", found(func(v *attest.Verdict) { v.System = attest.SystemDegraded }), 0, attest.LackKey},
	} {
		d := demand(t, tt.demand)
		if got := d.Lack(tt.v, evening.Add(tt.after)); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
	d, old := demand(t, "age=10s"), found(nil)
	if got := d.Lack(old, time.Time{}); got != attest.LackNone {
		t.Errorf("without a time: %q", got)
	}
	if got := new(attest.Demand).Lack(attest.Verdict{}, evening); got != attest.LackNone {
		t.Errorf("nothing is asked: %q", got)
	}
}

func TestParseDemand(t *testing.T) {
	for _, text := range []string{"key=hardware", "key=strongbox,os=verified,age=5m0s,kind=app-attest,kind=key-attestation", "os=degraded", "age=10s", "age=1h0m0s"} {
		if got := demand(t, text).String(); got != text {
			t.Errorf("got %q, want %q", got, text)
		}
	}
	for _, text := range []string{
		"", "key", "key=", "key=gold", "key=hardware,key=software", "key=unknown", "os=verified,os=degraded", "age=5", "age=9s", "age=1h1s", "age=-5m", "age=5m,age=5m",
		"kind=none", "kind=app-attest,kind=app-attest", "color=red", "key=hardware,", "KEY=hardware", "key=hardware os=verified",
	} {
		if d, err := attest.ParseDemand(text); err == nil {
			t.Errorf("%q: got %v", text, d)
		}
	}
}

// TestWords: verdicts and demands come back from JSON as they were; words that are not in the table are refused.
func TestWords(t *testing.T) {
	v := found(nil)
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"kind":"key-attestation","app":"com.example.door","key":"hardware","os":"verified","at":"2026-11-22T19:00:00Z"}`; string(text) != want {
		t.Errorf("got %s, want %s", text, want)
	}
	var back attest.Verdict
	if err := json.Unmarshal(text, &back); err != nil || back != v {
		t.Errorf("got %+v, %v", back, err)
	}
	for _, wrong := range []string{`{"kind":"x"}`, `{"key":"HARDWARE"}`, `{"os":3}`, `{"at":"today"}`} {
		if err := json.Unmarshal([]byte(wrong), &back); err == nil {
			t.Errorf("%s was read", wrong)
		}
	}
	if got := v.String(); !strings.Contains(got, "key-attestation") || !strings.Contains(got, "2026-11-22T19:00:00Z") {
		t.Errorf("got %q", got)
	}
}

func FuzzParseDemand(f *testing.F) {
	for _, seed := range []string{"key=hardware,os=verified,age=5m,kind=app-attest", "age=1h", "kind=service,kind=development", "=,=,="} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := attest.ParseDemand(text)
		if err != nil {
			return
		}
		again, err := attest.ParseDemand(d.String())
		if err != nil || again.String() != d.String() {
			t.Errorf("%q: %q: %v", text, d, err)
		}
	})
}
