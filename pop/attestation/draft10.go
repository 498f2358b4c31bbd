package attestation

// Names of draft-ietf-oauth-attestation-based-client-auth-10, all of them but those of JWTs, which are in
// pop/jose/draft_attestation10.go. A later revision gets a file of its own.
const (
	HeaderAttestation = "OAuth-Client-Attestation"
	HeaderProof       = "OAuth-Client-Attestation-PoP"
	HeaderChallenge   = "OAuth-Client-Attestation-Challenge" // in answers: the challenge for the next request

	MemberChallenge = "attestation_challenge" // of the answer of the challenge endpoint

	// Methods of client authentication.
	MethodProof = "attest_jwt_client_auth"      // with a proof of its own
	MethodDPoP  = "attest_jwt_client_auth_dpop" // whose proof is that of DPoP

	// Metadata (RFC 8414) and their values.
	MetadataChallenge  = "challenge_endpoint"
	MetadataAlgorithms = "client_attestation_signing_alg_values_supported"
	MetadataProofs     = "client_attestation_pop_signing_alg_values_supported"
	MetadataMethods    = "client_attestation_pop_methods_supported"
	ProofJWT           = "attestation_pop_jwt"
	ProofDPoP          = "dpop_combined"
)
