package jose

import (
	"maps"
	"slices"
)

// Type is the typ of a JSON Web Token: what it is for (RFC 8725 §3.11). A token of one type is never taken for another, and
// each type has its own table of claims.
type Type uint8

// Types, in the order of the IANA media types; draft_attestation10.go has more.
const (
	TypeAccessToken   Type = 1 + iota // RFC 9068
	TypeDPoP                          // RFC 9449
	TypeIntrospection                 // RFC 9701
	// TypeAssertion is a client's assertion about itself (RFC 7523 §3), which names no type: typ may be absent or "JWT".
	// It is verified here and never made.
	TypeAssertion
	// TypeIntegrity is an attestation service's word on an app instance (pop/integrity), which names no type either.
	TypeIntegrity
	// TypePlayIntegrity is Google Play's verdict on an app, which names no type either. It is verified here and never made.
	TypePlayIntegrity
)

// kind is one line of the table of types.
type kind struct {
	typ     string
	private table // claims besides the registered ones that may be written
}

var types = map[Type]kind{
	TypeAccessToken: {"at+jwt", claimsOf(ClaimScope, ClaimClientID, ClaimAuthTime, ClaimACR, ClaimAMR, ClaimRoles, ClaimGroups,
		ClaimEntitlements, ClaimDetails)},
	TypeDPoP:           {"dpop+jwt", claimsOf(ClaimMethod, ClaimURL, ClaimTokenHash, ClaimNonce)},
	TypeIntrospection:  {"token-introspection+jwt", claimsOf(ClaimIntrospection)},
	TypeAssertion:      {"JWT", nil},
	TypeIntegrity:      {"JWT", claimsOf(ClaimPayload, ClaimInstanceKey, ClaimChallenge, ClaimVerdict)},
	TypePlayIntegrity:  {"JWT", nil},
	TypeAttestation:    {typeAttestation10, claimsOf(ClaimVerdict)},
	TypeAttestationPoP: {typeAttestationPoP10, claimsOf(ClaimChallenge)},
}

// untyped are those whose makers may leave typ out.
var untyped = []Type{TypeAssertion, TypeIntegrity, TypePlayIntegrity}

// String gives the typ.
func (t Type) String() string {
	if k, ok := types[t]; ok {
		return k.typ
	}
	return "unknown"
}

// names are all the claims that a token of the type may be made with.
func (t Type) names() table {
	all := maps.Clone(registeredNames)
	maps.Copy(all, types[t].private)
	return all
}

// matches compares exactly. RFC 7515 §4.1.9 would let a sender prefix "application/" or change the case; nobody needs to.
func (t Type) matches(o object) bool {
	got, err := o.text(headerType, maxID)
	if err != nil {
		return false
	}
	return got == t.String() || got == "" && slices.Contains(untyped, t)
}

func claimsOf(claims ...Claim) table {
	t := make(table, len(claims))
	for _, c := range claims {
		t[name(c)] = true
	}
	return t
}
