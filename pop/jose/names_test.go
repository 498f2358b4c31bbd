package jose

import (
	"regexp"
	"testing"
)

// TestNamesNeedNoEscaping: a name is written between quotes as it stands, so no table may hold one that could end them.
func TestNamesNeedNoEscaping(t *testing.T) {
	plain := regexp.MustCompile(`^[a-zA-Z0-9_#]+$`)
	tables := []table{
		signedHeader, encryptedHeader, claimNames, deviceMethods, methodNames, proofHeader, dangerousHeader, registeredNames, thumbprintNames,
		publicKey, listedKey, secretKey, keySet, grantNames, secretMembers,
	}
	for typ, k := range types {
		if typ.String() != k.typ || !plain.MatchString(regexp.MustCompile(`[-+]`).ReplaceAllString(k.typ, "")) {
			t.Errorf("type %d is %q", typ, k.typ)
		}
		tables = append(tables, typ.names())
	}
	for _, names := range tables {
		for n, in := range names {
			if !in || !plain.MatchString(string(n)) {
				t.Errorf("name %q", n)
			}
		}
	}
}

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
