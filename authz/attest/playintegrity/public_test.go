package playintegrity

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz/attest"
)

// published is Google's example of a kind of request.
func published(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestPublicExamples: Google's own examples are read whole, and accepted once their certificate is one.
func TestPublicExamples(t *testing.T) {
	const hello, short = "aGVsbG8gd29scmQgdGhlcmU", "6a6a1474b5cbbb2b1aa57e0bc3"
	base := payload{
		requestPackage: "com.package.name", recognition: "PLAY_RECOGNIZED", packageName: "com.package.name",
		digests: []string{short}, release: 42, labels: []string{"MEETS_DEVICE_INTEGRITY"},
	}
	standard, classic := base, base
	standard.requestHash, standard.at = hello, time.UnixMilli(1675655009345)
	classic.nonce, classic.at = hello, time.UnixMilli(1617893780)
	g := newGoogle(t)
	v := g.verifier()
	v.Apps[0].Package = "com.package.name"
	for name, want := range map[string]payload{"standard": standard, "classic": classic} {
		text := published(t, name)
		var all members
		if err := json.Unmarshal(text, &all); err != nil {
			t.Fatal(err)
		}
		if got, err := read(all); err != nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, want)
		}
		if got, err := v.Verify(g.token(t, text), hello, want.at); got != nil || !errors.Is(err, ErrApp) {
			t.Errorf("%s, with a certificate that is none: got %+v, %v", name, got, err)
		}
		text = bytes.Replace(text, []byte(short), []byte(encode64(cert)), 1)
		if got, err := v.Verify(g.token(t, text), hello, want.at); err != nil || got.App != "com.package.name" || got.System != attest.SystemVerified {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
	var testing members
	if err := json.Unmarshal(published(t, "testing"), &testing); err != nil {
		t.Fatal(err)
	}
	p := &payload{}
	if m, err := object(testing["testingDetails"]); err != nil || p.readTesting(m) != nil || !p.testing {
		t.Errorf("testing: got %+v, %v", p, err)
	}
}
