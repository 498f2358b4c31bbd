package demo_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/scenarios/attacks"
	"github.com/latchkey-ace/latchkey/scenarios/demo"
	"github.com/latchkey-ace/latchkey/scenarios/fakeapp"
	"github.com/latchkey-ace/latchkey/scenarios/stage"
)

// play builds the programs with tags and plays everything, the door lock's story on a profile.
func play(t *testing.T, profile pop.Profile, tags ...string) ([]demo.Result, error) {
	t.Helper()
	bin := t.TempDir()
	if err := stage.Build(bin, tags...); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	var results []demo.Result
	err := demo.Play(t.Context(), demo.Options{Bin: bin, Out: &out, Profile: profile, Report: func(r demo.Result) { results = append(results, r) }})
	if t.Failed() {
		t.Log(out.String())
	}
	return results, err
}

func TestEveryStepHolds(t *testing.T) {
	for _, profile := range []pop.Profile{pop.ProfileCoAPOSCORE, pop.ProfileCoAPDTLS} {
		t.Run(profile.String(), func(t *testing.T) {
			results, err := play(t, profile)
			if err != nil {
				t.Errorf("got %v, want no error", err)
			}
			for _, r := range results {
				if r.Err != "" {
					t.Errorf("%s, step %d, %s: %s", r.Part, r.Step, r.Says, r.Err)
				}
			}
			if want := 17 + len(fakeapp.Steps) + len(attacks.All); len(results) != want {
				t.Errorf("got %d steps, want %d", len(results), want)
			}
		})
	}
}

// TestAttackStoryFailsWithoutItsCheck builds the programs with one check switched off: exactly the step that relies on it must
// fail. `make test` samples four of them; with LATCHKEY_SOAK set all are tried.
func TestAttackStoryFailsWithoutItsCheck(t *testing.T) {
	sample := map[string]bool{"echo": true, "once": true, "code": true, "attestation": true}
	falls := map[string][]string{"attestation": {"The fake app 3", "The fake app 4", "The fake app 5", "The fake app 6"}}
	for i, a := range attacks.All {
		falls[a.Check] = []string{fmt.Sprintf("The attacks %d", i+1)}
	}
	for check, steps := range falls {
		if !sample[check] && os.Getenv("LATCHKEY_SOAK") == "" {
			continue
		}
		t.Run(check, func(t *testing.T) {
			results, err := play(t, 0, "nocheck_"+check)
			if !errors.Is(err, demo.ErrFailed) {
				t.Errorf("got %v, want %v", err, demo.ErrFailed)
			}
			for _, r := range results {
				step := fmt.Sprintf("%s %d", r.Part, r.Step)
				switch mine := slices.Contains(steps, step); {
				case mine && r.Err == "":
					t.Errorf("%s held although its check %s is off", step, check)
				case !mine && r.Err != "":
					t.Errorf("%s failed too: %s", step, r.Err)
				case mine:
					t.Logf("%s: %s", step, r.Err)
				}
			}
		})
	}
}
