package ace

// Private-use code points (IANA: less than −65536). −70001 is the claim pop.GrantRef.
const (
	paramRSURI        Parameter = -70002 // where the resource server may be reached (D13)
	paramCodeVerifier Parameter = -70003 // RFC 9200 gives PKCE no abbreviation
)

// memberScopeAIF is the JSON member that carries a binary scope (D12).
const memberScopeAIF = "scope_aif"
