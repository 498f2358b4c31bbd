package httpapi

import (
	"net/http"

	"github.com/latchkey-ace/latchkey/pop/attestation"
	"github.com/latchkey-ace/latchkey/pop/jose"
)

// challenge gives the client what its next proof of an instance key is to hold. It is good once.
func (f *face) challenge(w http.ResponseWriter) {
	w.Header().Set(attestation.HeaderChallenge, f.challenges.unique(f.server.Now()))
}

// giveChallenge answers requests for a challenge (draft-ietf-oauth-attestation-based-client-auth-10 §8).
func (f *face) giveChallenge(w http.ResponseWriter, _ *http.Request) {
	f.write(w, http.StatusOK, map[string]any{attestation.MemberChallenge: f.challenges.unique(f.server.Now())})
}

// attesterAlgorithms are those of attestations: shared secrets only where somebody has one.
func (f *face) attesterAlgorithms() []string {
	for _, a := range f.options.Attesters {
		if a.Symmetric {
			return append(algorithms[:len(algorithms):len(algorithms)], jose.HS256.String())
		}
	}
	return algorithms
}
