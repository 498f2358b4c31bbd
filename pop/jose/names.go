package jose

// name is the name of a JSON member. Every name that leaves this package stands in a table of this file: jwx v2 and
// other writers let a name inject members (GHSA-4cf7-xm37-g63h), so none is ever taken from a value.
type name string

// Header parameters (RFC 7515 §4.1, RFC 7516 §4.1, RFC 7518 §4.6.1) that are read or written. Our own tokens have no
// others; in those of other parties more are ignored, but for the ones in dangerousHeader.
const (
	headerAlgorithm    name = "alg"
	headerKey          name = "jwk"
	headerKeyID        name = "kid"
	headerType         name = "typ"
	headerEncryption   name = "enc"
	headerEphemeralKey name = "epk"
	headerContent      name = "cty"
)

// Header parameters that are never written, and refused wherever they are read: they change what is signed, name keys that
// would have to be fetched, or make a reader work harder than the length of the token (RFC 7515 §4.1, RFC 7516 §4.1.3, RFC
// 7518 §4.8.1, RFC 7797 §3).
const (
	headerCritical    name = "crit"
	headerUnencoded   name = "b64"
	headerSetURL      name = "jku"
	headerCertURL     name = "x5u"
	headerCompression name = "zip"
	headerSaltCount   name = "p2c"
)

// Claims (RFC 7519 §4.1, RFC 9068 §2.2, RFC 7800 §3.1, RFC 9200 §8.14), and the private one of D6.
const (
	claimIssuer       name = "iss"
	claimSubject      name = "sub"
	claimAudience     name = "aud"
	claimExpires      name = "exp"
	claimNotBefore    name = "nbf"
	claimIssuedAt     name = "iat"
	claimID           name = "jti"
	claimConfirmation name = "cnf"
	claimScope        name = "scope"
	claimClientID     name = "client_id"
	claimProfile      name = "ace_profile"
	claimCNonce       name = "cnonce"
	claimExpiresIn    name = "exi"
	claimGrant        name = "latchkey_grant"
)

// Claim names a claim that has no field: what Make may write and Verify shall insist on. A name outside of the table of its
// type is refused, whoever asks for it.
type Claim string

// Claims of single types, in the order of the RFCs.
const (
	ClaimScope         Claim = "scope"                 // RFC 8693 §4.2
	ClaimClientID      Claim = "client_id"             // RFC 8693 §4.3
	ClaimAuthTime      Claim = "auth_time"             // RFC 9068 §2.2.1
	ClaimACR           Claim = "acr"                   // RFC 9068 §2.2.1
	ClaimAMR           Claim = "amr"                   // RFC 9068 §2.2.1
	ClaimRoles         Claim = "roles"                 // RFC 9068 §2.2.3.1
	ClaimGroups        Claim = "groups"                // RFC 9068 §2.2.3.1
	ClaimEntitlements  Claim = "entitlements"          // RFC 9068 §2.2.3.1
	ClaimDetails       Claim = "authorization_details" // RFC 9396 §9.1
	ClaimMethod        Claim = "htm"                   // RFC 9449 §4.2
	ClaimURL           Claim = "htu"                   // RFC 9449 §4.2
	ClaimTokenHash     Claim = "ath"                   // RFC 9449 §4.2
	ClaimNonce         Claim = "nonce"                 // RFC 9449 §4.2
	ClaimIntrospection Claim = "token_introspection"   // RFC 9701 §5
)

// Claims that have a field of Registered, for Expect.Require.
const (
	ClaimIssuer       = Claim(claimIssuer)
	ClaimSubject      = Claim(claimSubject)
	ClaimAudience     = Claim(claimAudience)
	ClaimExpires      = Claim(claimExpires)
	ClaimNotBefore    = Claim(claimNotBefore)
	ClaimIssuedAt     = Claim(claimIssuedAt)
	ClaimID           = Claim(claimID)
	ClaimConfirmation = Claim(claimConfirmation)
)

// Confirmation methods (RFC 7800 §3, RFC 9449 §6.1, RFC 8705 §3.1). jku is known only to be refused: no key is fetched.
const (
	methodKey         name = "jwk"
	methodEncrypted   name = "jwe"
	methodKeyID       name = "kid"
	methodSetURL      name = "jku"
	methodThumbprint  name = "jkt"
	methodCertificate name = "x5t#S256"
)

// Members of JSON Web Keys and their sets (RFC 7517 §4, §5, RFC 7518 §6).
const (
	keyType       name = "kty"
	keyUse        name = "use"
	keyOperations name = "key_ops"
	keyAlgorithm  name = "alg"
	keyID         name = "kid"
	keyCurve      name = "crv"
	keyX          name = "x"
	keyY          name = "y"
	keyModulus    name = "n" // RSA, for thumbprints alone
	keyExponent   name = "e" // RSA, for thumbprints alone
	keySecret     name = "k"
	setKeys       name = "keys"
)

// secretMembers are what no public key has (RFC 7518 §6.2.2, §6.3.2, §6.4, RFC 8037 §2): a sender that shows one has lost
// its key, and a reader that kept it would hold a secret it was never meant to have (CVE-2026-54431).
var secretMembers = tableOf("d", "p", "q", "dp", "dq", "qi", "oth", keySecret)

// Members of the private claim (D6).
const (
	grantEpoch name = "epoch"
	grantID    name = "grant"
	grantOnce  name = "once"
	grantGrade name = "grade"
)

// table lists every name that one kind of object may have.
type table map[name]bool

var (
	signedHeader    = tableOf(headerAlgorithm, headerKeyID, headerType)
	encryptedHeader = tableOf(headerAlgorithm, headerEncryption, headerEphemeralKey)
	claimNames      = tableOf(claimIssuer, claimSubject, claimAudience, claimExpires, claimNotBefore, claimIssuedAt, claimID,
		claimConfirmation, claimScope, claimClientID, claimProfile, claimCNonce, claimExpiresIn, claimGrant)
	deviceMethods   = tableOf(methodKey, methodEncrypted, methodKeyID) // no token for a device carries jkt (D11)
	methodNames     = tableOf(methodKey, methodEncrypted, methodKeyID, methodThumbprint, methodCertificate)
	allMethods      = []name{methodKey, methodEncrypted, methodKeyID, methodSetURL, methodThumbprint, methodCertificate}
	proofHeader     = tableOf(headerAlgorithm, headerKey, headerType)
	dangerousHeader = tableOf(headerCritical, headerUnencoded, headerSetURL, headerCertURL, headerCompression, headerSaltCount, headerEncryption, headerEphemeralKey)
	registeredNames = tableOf(claimIssuer, claimSubject, claimAudience, claimExpires, claimNotBefore, claimIssuedAt, claimID, claimConfirmation)
	thumbprintNames = tableOf(keyType, keyCurve, keyX, keyY, keyModulus, keyExponent, keySecret)
	publicKey       = tableOf(keyType, keyCurve, keyX, keyY)
	listedKey       = tableOf(keyType, keyUse, keyAlgorithm, keyID, keyCurve, keyX, keyY)
	secretKey       = tableOf(keyType, keySecret, keyID)
	keySet          = tableOf(setKeys)
	grantNames      = tableOf(grantEpoch, grantID, grantOnce, grantGrade)
)

func tableOf(names ...name) table {
	t := make(table, len(names))
	for _, n := range names {
		t[n] = true
	}
	return t
}
