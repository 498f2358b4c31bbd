package jose

// Types and claims of draft-ietf-oauth-attestation-based-client-auth-10. Earlier revisions call the claim nonce.
const (
	TypeAttestation    Type = 128 + iota // by the attester, about a client instance and its key
	TypeAttestationPoP                   // by the client instance, with that key
)

const (
	typeAttestation10    = "oauth-client-attestation+jwt"
	typeAttestationPoP10 = "oauth-client-attestation-pop+jwt"
)

// ClaimChallenge is the challenge that the server gave out.
const ClaimChallenge Claim = "challenge"

// ClaimVerdict is ours: what an attester found out about the instance (docs/wire.md). Others leave it out.
const ClaimVerdict Claim = "latchkey_verdict"

// Claims of integrity tokens, by the names that services use.
const (
	ClaimPayload     Claim = "pay" // base64 of the SHA-256 of what the token is bound to
	ClaimInstanceKey Claim = "ipk" // base64 of the SubjectPublicKeyInfo of the instance key
)
