package appattest_test

import "testing"

// BenchmarkAttest has Apple's curves and sizes: two signatures on P-384.
func BenchmarkAttest(b *testing.B) {
	a := newApple(b)
	e := genuine(b)
	v, object := a.verifier(), e.object(b, a)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Attest(object, e.CredentialID, clientData, now); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAssert is one signature on P-256.
func BenchmarkAssert(b *testing.B) {
	v, k, key := installed(b)
	evidence := usual().sign(b, key)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Assert(evidence, clientData, k, 7); err != nil {
			b.Fatal(err)
		}
	}
}
