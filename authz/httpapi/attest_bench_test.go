package httpapi_test

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop/attestation"
)

// BenchmarkAttestedToken compares a token for an app that shows itself with the same for a client with a secret, in one run: "over2verify"
// is what the former costs more than 1.15 times the latter, in pairs of signature verifications. The goal is 1 at most. An instance shows one attestation until it ends ("again"); "first" is with a new one each time.
func BenchmarkAttestedToken(b *testing.B) {
	known := map[*instance]string{}
	same := func(i *instance, _ string) []string {
		again, there := known[i]
		if !there {
			again = i.vouched()
			known[i] = again
		}
		return []string{attestation.HeaderAttestation, again, attestation.HeaderProof, i.proof()}
	}
	for name, show := range map[string]shows{"first": byProof, "dpop": byDPoP, "again": same} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b)
			i := w.attesters().instance()
			w.give("gateway", view)
			digest := sha256.Sum256([]byte("what is signed"))
			signature, err := ecdsa.SignASN1(nil, i.key, digest[:])
			w.must(err)
			own := grantForms("", "")["client_credentials"].Encode()
			plain := func() []string { return []string{"Authorization", basic("gateway", w.secret)} }
			shown := func() []string { return show(i, "/token") }
			ask := func(body string, headers []string) time.Duration {
				r := httptest.NewRequest(http.MethodPost, w.url+"/token", strings.NewReader(body))
				r.Header.Set("Content-Type", formType)
				for i := 0; i < len(headers); i += 2 {
					r.Header.Add(headers[i], headers[i+1])
				}
				answer := httptest.NewRecorder()
				began := time.Now()
				w.handler.ServeHTTP(answer, r)
				took := time.Since(began)
				if answer.Code != http.StatusOK {
					b.Fatalf("%d %s", answer.Code, answer.Body)
				}
				return took
			}
			var without, with, verify time.Duration
			for b.Loop() {
				without += ask("grant_type=client_credentials&audience=door-1", plain())
				with += ask(own, shown())
				began := time.Now()
				for range 2 {
					if !ecdsa.VerifyASN1(&i.key.PublicKey, digest[:], signature) {
						b.Fatal("not verified")
					}
				}
				verify += time.Since(began)
			}
			n := float64(b.N)
			b.ReportMetric(float64(without.Microseconds())/n, "µs-secret/op")
			b.ReportMetric(float64(with.Microseconds())/n, "µs-attested/op")
			b.ReportMetric(float64(verify.Microseconds())/n, "µs-2verify/op")
			b.ReportMetric((float64(with)-1.15*float64(without))/float64(verify), "over2verify")
		})
	}
}
