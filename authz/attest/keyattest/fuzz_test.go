package keyattest

import (
	"bytes"
	"os"
	"testing"
)

// FuzzVerify feeds a leaf; it may be accepted only as it was.
func FuzzVerify(f *testing.F) {
	made := forge(f)
	chain, v := made.chain(f), made.verifier()
	leaf := chain[0]
	f.Add(leaf)
	for _, der := range readPEM(f, "normal_cert_chain.pem") {
		f.Add(der)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		sent := [][]byte{der, chain[1], chain[2], chain[3]}
		if got, err := v.Verify(sent, challenge, now); (err == nil) != bytes.Equal(der, leaf) || (err == nil) != (got != nil) {
			t.Fatalf("got %v, %v", got, err)
		}
		for at := range chain {
			sent := [][]byte{chain[0], chain[1], chain[2], chain[3]}
			sent[at] = der
			if _, err := v.Verify(sent, challenge, now); err == nil && !bytes.Equal(der, chain[at]) {
				t.Fatalf("certificate %d is accepted though it was changed", at)
			}
		}
	})
}

// FuzzDescription parses and judges: neither may fall over.
func FuzzDescription(f *testing.F) {
	made := forge(f)
	f.Add(made.description())
	soften(made)
	f.Add(made.description())
	v := made.verifier()
	v.AllowSoftware = true
	f.Fuzz(func(t *testing.T, der []byte) {
		desc, err := parseDescription(der)
		if (err == nil) != (desc != nil) {
			t.Fatalf("got %v, %v", desc, err)
		}
		if err != nil {
			return
		}
		result := &Result{Level: desc.level(), at: now}
		if err := v.judge(desc, result); err == nil && result.App != packageName {
			t.Fatalf("app %q is accepted", result.App)
		}
	})
}

func FuzzRevocation(f *testing.F) {
	list, err := os.ReadFile("testdata/status.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(list)
	f.Add([]byte(`{"entries":{"a1":{"status":"REVOKED"}}}`))
	f.Fuzz(func(t *testing.T, list []byte) {
		r, err := ParseRevocation(list)
		if (err == nil) != (r != nil) {
			t.Fatalf("got %v, %v", r, err)
		}
		if err == nil && len(r.serials) < r.Len() {
			t.Fatalf("%d entries, but %d serials", r.Len(), len(r.serials))
		}
	})
}
