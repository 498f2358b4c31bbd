// Package checks names the checks that a test-only build can switch off, so that the demonstration can be shown to
// fail for exactly the reason it claims: built with `-tags nocheck_echo`, only the step that relies on freshness fails.
//
// In every build without such a tag each constant is true and the compiler removes the branch. A program built with
// one says so on every start; see Off.
package checks

// Off names the checks this build leaves out. It is empty in every build but those of the tests.
func Off() []string {
	var off []string
	for _, c := range []struct {
		name string
		on   bool
	}{
		{"attestation", Attestation}, {"audience", Audience}, {"code", Code}, {"echo", Echo}, {"expiry", Expiry}, {"integrity", Integrity},
		{"once", Once}, {"possession", Possession}, {"replay", Replay}, {"revocation", Revocation}, {"rights", Rights},
	} {
		if !c.on {
			off = append(off, c.name)
		}
	}
	return off
}
