package jose_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/jose"
)

func TestDescribeShowsWhatAnyoneCanRead(t *testing.T) {
	good := sign(t, claims(t))
	got, err := jose.Describe(good)
	if err != nil || !strings.Contains(got, `at+jwt`) || !strings.Contains(got, "not checked") {
		t.Errorf("got %s, %v", got, err)
	}
	for name, token := range map[string]string{
		"nothing": "", "two parts": "e30.e30", "four parts": good + ".", "no base64url": "e3*.e30.", "padding": "e30=.e30.",
		"longer than its bound": "e30." + strings.Repeat("A", jose.MaxToken) + ".", "ten thousand dots": strings.Repeat(".", 10_000),
	} {
		if got, err := jose.Describe(token); !errors.Is(err, jose.ErrForm) {
			t.Errorf("%s: got %.99s, %v", name, got, err)
		}
	}
}

// FuzzDescribe: what is shown of a token that anyone has made commands no terminal.
func FuzzDescribe(f *testing.F) {
	f.Add(sign(f, claims(f)))
	f.Add(b64("\x1b[2J\u202e\u009b") + "." + b64("{\n\"\r\"}") + ".")
	f.Fuzz(func(t *testing.T, token string) {
		got, err := jose.Describe(token)
		if err != nil && !errors.Is(err, jose.ErrForm) {
			t.Errorf("%q: got %v", token, err)
		}
		if strings.ContainsFunc(got, func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0x202e }) {
			t.Errorf("%q: %q shows a control character", token, got)
		}
	})
}
