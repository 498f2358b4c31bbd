package jose

import "testing"

// TestForeignNameIsRefused: the encoder itself knows no name outside of its table, whoever calls it.
func TestForeignNameIsRefused(t *testing.T) {
	for _, n := range []name{`x":0,"admin`, "admin", "", claimGrant} {
		if out, err := signedHeader.encode(member{headerKeyID, "k"}, member{n, true}); err == nil {
			t.Errorf("%q: got %s", n, out)
		}
	}
	out, err := signedHeader.encode(member{headerAlgorithm, "ES256"}, member{headerType, nil}, member{headerKeyID, "<&\""})
	if want := `{"alg":"ES256","kid":"<&\""}`; err != nil || string(out) != want {
		t.Errorf("got %s %v, want %s", out, err, want)
	}
}
