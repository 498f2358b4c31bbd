package jose_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/jose"
	cnfjwe "github.com/latchkey-ace/latchkey/pop/jose/jwe"
)

// What reading may cost for each byte of input: the worst is a list of objects, each a Go map while it is read.
const (
	bytesPerByte = 120
	fixedCost    = 16384
)

// allocated measures the heap bytes of one call, the least of several because other goroutines allocate too.
func allocated(f func()) uint64 {
	least := ^uint64(0)
	for range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return least
}

// TestAllocationIsBoundedByTheInput: no token and no key set makes its reader spend more than its length pays for, before
// or after its signature is known to be good.
func TestAllocationIsBoundedByTheInput(t *testing.T) {
	verify := func(token string) func() {
		e := expectAttestation(t)
		return func() { _, _ = jose.Verify(token, e) }
	}
	payload := func(value string) string {
		return forge(t, attestation, strings.TrimSuffix(attestationClaims, "}")+`,"x":`+value+`}`)
	}
	header := func(value string) string {
		return b64(strings.TrimSuffix(attestation, "}")+`,"x":`+value+`}`) + "." + b64(attestationClaims) + "." + b64(strings.Repeat("s", 64))
	}
	list := func(item string, n int) string {
		return "[" + strings.TrimSuffix(strings.Repeat(item+",", n), ",") + "]"
	}
	tests := []struct {
		name  string
		input string
		read  func(string) func()
	}{
		{"dots without end", strings.Repeat(".", 1<<20), verify},
		{"a token without end", strings.Repeat("A", 1<<20) + "..", verify},
		{"dots to describe", strings.Repeat(".", 1<<20), func(s string) func() { return func() { _, _ = jose.Describe(s) } }},
		{"a possession key of dots", strings.Repeat(".", 1<<20), func(s string) func() { return func() { _, _, _ = cnfjwe.DecryptKey(s, nil) } }},
		{"a proof of dots", strings.Repeat(".", 1<<20), func(s string) func() { return func() { _, _ = jose.VerifyProof(s, expectProof()) } }},
		{"objects in a header", header(list(`{}`, 1700)), verify},
		{"objects of one in a header", header(list(`{"":0}`, 700)), verify},
		{"objects in the claims", payload(list(`{}`, 1500)), verify},
		{"objects of one in the claims", payload(list(`{"a":0}`, 700)), verify},
		{"nested objects in the claims", payload(list(`{"a":{"a":{"a":{}}}}`, 250)), verify},
		{"numbers in the claims", payload(list(`1`, 2500)), verify},
		{"a number of digits", payload(strings.Repeat("9", 5000)), verify},
		{"escapes", payload(`"` + strings.Repeat(`\u0041`, 800) + `"`), verify},
		{"a key set of objects", `{"keys":` + list(`{}`, 20_000) + `}`, set},
		{"a key set of nested lists", `{"keys":[` + list(list(list(`[]`, 100), 10), 20) + `]}`, set},
		{"a key with operations", strings.TrimSuffix(instanceKey, "}") + `,"key_ops":` + list(`"verify"`, 700) + `}`, func(s string) func() { return func() { _, _ = jose.ParseKey([]byte(s)) } }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			paid := min(len(tt.input), jose.MaxSet)
			if strings.HasPrefix(tt.input, ".") || len(tt.input) > jose.MaxSet {
				paid = 0 // refused by its length or its dots alone
			}
			got := allocated(tt.read(tt.input))
			if limit := uint64(fixedCost + bytesPerByte*paid); got > limit {
				t.Errorf("%d bytes on the heap for %d of input, at most %d", got, len(tt.input), limit)
			}
			t.Logf("%d bytes on the heap for %d of input", got, len(tt.input))
		})
	}
}

func set(s string) func() { return func() { _, _ = jose.ParseSet([]byte(s)) } }
