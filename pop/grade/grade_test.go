package grade_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/grade"
)

func ExampleGrade() {
	g := grade.Grade{Kind: grade.KeyAttestation, Key: grade.KeyHardware, System: grade.SystemVerified}
	fmt.Println(g, g.Numbers())
	// Output: key-attestation, key hardware, os verified [3 2 2]
}

// TestNumbers: what is in a token comes back, also what only a newer server knows, and nothing else is read.
func TestNumbers(t *testing.T) {
	for _, g := range []grade.Grade{
		{Kind: grade.Service}, {Kind: grade.Development, Key: grade.KeyStrongBox, System: grade.SystemDegraded}, {Kind: grade.Max, Key: grade.Max, System: grade.Max},
	} {
		text, err := json.Marshal(g)
		if err != nil {
			t.Fatal(err)
		}
		var got grade.Grade
		if err := json.Unmarshal(text, &got); err != nil || got != g {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"[]", "[1,1]", "[1,1,1,1]", "[0,1,1]", "[16,0,0]", "[1,16,0]", "[1,0,16]", "[1,-1,0]", "[1,1.0,0]", "null", `"service"`, "{}", "[1,null,1,2]"} {
		var got grade.Grade
		if err := json.Unmarshal([]byte(text), &got); err == nil {
			t.Errorf("%s: got %v", text, got)
		}
	}
}

// TestWords: they stand in settings and logs, and never change.
func TestWords(t *testing.T) {
	for want, got := range map[string]fmt.Stringer{
		"not attested": grade.Grade{Key: grade.KeyHardware}, "app-attest, key unknown, os unknown": grade.Grade{Kind: grade.AppAttest},
		"none": grade.None, "play-integrity": grade.PlayIntegrity, "unknown": grade.Kind(9), "strongbox": grade.KeyStrongBox, "degraded": grade.SystemDegraded,
	} {
		if got.String() != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
