package cwt

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/cose"
)

func TestDescribeShowsWhatAnyoneCanRead(t *testing.T) {
	h := newHouse(t)
	for name, want := range map[string]struct{ shown, hidden string }{
		"Sign1":    {`3: "dabcdefghijklm"`, "not shown"},
		"Encrypt0": {"COSE_Encrypt0", "dabcdefghijklm"},
		"Nested":   {"COSE_Encrypt0", "dabcdefghijklm"},
		"Mac0":     {"COSE_Mac0", "not shown"},
	} {
		token := mustSeal(t, full(h.encrypted(t)), h.protections()[name])
		for _, shape := range [][]byte{token, token[2:]} { // with and without the CWT tag
			got, err := Describe(shape)
			if err != nil || !strings.Contains(got, want.shown) || strings.Contains(got, want.hidden) {
				t.Errorf("%s: got %s, %v, want %s", name, got, err, want.shown)
			}
		}
	}
}

func TestDescribeNeedsAToken(t *testing.T) {
	for name, data := range map[string][]byte{
		"nothing": nil, "a number": {1}, "a tag alone": {0xd8, 61}, "a number in tags": {0xd8, 61, 0xd2, 1}, "an array of two": {0xd2, 0x82, 0, 0},
		"a byte after it": {0xd2, 0x83, 0x40, 0xa0, 0x40, 0}, "too long": append([]byte{0xd2, 0x83, 0x40, 0xa0, 0x5a, 0, 1, 0, 0}, make([]byte, 1<<16)...),
	} {
		if got, err := Describe(data); err == nil {
			t.Errorf("%s: got %.99s", name, got)
		}
	}
}

// FuzzDescribe: what is shown of a token that anyone has made commands no terminal.
func FuzzDescribe(f *testing.F) {
	for _, name := range []string{"A_3.json", "A_4.json", "A_5.json", "A_6.json", "A_7.json"} {
		f.Add(readExample(f, name).token(f))
	}
	f.Add(readACE(f, "rfc9770-token-hash-cwt").bytes(f, "access_token"))
	h := newHouse(f)
	c := full(h.encrypted(f))
	c.Unknown = map[pop.ClaimLabel][]byte{{Name: "\x1b[2J\u202e"}: {0x63, 0x1b, '[', 'J'}}
	f.Add(mustSeal(f, c, h.sign1()))
	f.Add(cose.Wrap(cose.TagSign1, append([]byte{0x84, 0x40, 0xa0, 0x45, 0x64}, "\x1b[2J\x40"...)))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := Describe(data)
		if err != nil && !errors.Is(err, ErrForm) && !errors.Is(err, cose.ErrMalformed) {
			t.Errorf("%x: got %v", data, err)
		}
		if i := bytes.IndexFunc([]byte(got), func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f || r >= 0x80 && r < 0xa0 }); i >= 0 {
			t.Errorf("%x: %q shows a control character", data, got)
		}
	})
}
