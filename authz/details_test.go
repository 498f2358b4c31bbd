package authz

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/ace"
)

const unlockDetails = `[{"type":"latchkey_device","locations":["front-door"],"actions":["unlock","view"]}]`

func TestDetails(t *testing.T) {
	got, err := parseDetails(unlockDetails)
	if want := (details{DetailsType, []string{"front-door"}, []string{"unlock", "view"}}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := parseDetails(` [ {"locations":["d"], "type":"latchkey_device"} ] `); err != nil || got.Actions != nil {
		t.Errorf("without actions: got %+v, %v", got, err)
	}
	for name, text := range map[string]string{
		"nothing":                   "",
		"an object":                 unlockDetails[1 : len(unlockDetails)-1],
		"no element":                "[]",
		"null":                      "null",
		"two elements":              `[` + unlockDetails[1:len(unlockDetails)-1] + `,` + unlockDetails[1:],
		"another type":              `[{"type":"openid_credential","locations":["d"]}]`,
		"a type in other letters":   `[{"type":"Latchkey_device","locations":["d"]}]`,
		"no type":                   `[{"locations":["d"]}]`,
		"no location":               `[{"type":"latchkey_device"}]`,
		"an empty location":         `[{"type":"latchkey_device","locations":[""]}]`,
		"two locations":             `[{"type":"latchkey_device","locations":["d","e"]}]`,
		"a location that is a text": `[{"type":"latchkey_device","locations":"d"}]`,
		"a member nobody knows":     `[{"type":"latchkey_device","locations":["d"],"datatypes":["x"]}]`,
		"a member in other letters": `[{"type":"latchkey_device","Locations":["d"]}]`,
		"a member twice":            `[{"type":"latchkey_device","locations":["d"],"locations":["e"]}]`,
		"twice in other letters":    `[{"type":"latchkey_device","locations":["d"],"LOCATIONS":["e"]}]`,
		"something behind it":       unlockDetails + "[]",
		"cut short":                 unlockDetails[:len(unlockDetails)-1],
		"far too long":              `[{"type":"latchkey_device","locations":["` + strings.Repeat("d", maxDetails) + `"]}]`,
	} {
		var refused *ace.Error
		if got, err := parseDetails(text); !errors.As(err, &refused) || refused.Code != ace.InvalidDetails {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

// FuzzDetails: what is read is one wish, and is read the same again when written.
func FuzzDetails(f *testing.F) {
	f.Add(unlockDetails)
	f.Add(`[{"type":"latchkey_device","locations":["d"],"actions":[]}]`)
	f.Add(`[{"type":"latchkey_device","locations":["d"],"LOCATIONS":["e"]}]`)
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parseDetails(text)
		if err != nil {
			if !errors.As(err, new(*ace.Error)) {
				t.Fatalf("got %T", err)
			}
			return
		}
		written, err := json.Marshal([]details{d})
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseDetails(string(written))
		if len(written) <= maxDetails && (err != nil || !reflect.DeepEqual(again.Locations, d.Locations) || strings.Join(again.Actions, "\x00") != strings.Join(d.Actions, "\x00")) {
			t.Fatalf("%q became %q: %+v, %v", text, written, again, err)
		}
	})
}
