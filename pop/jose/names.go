package jose

// name is the name of a JSON member. Every name that leaves this package stands in a table of this file: jwx v2 and
// other writers let a name inject members (GHSA-4cf7-xm37-g63h), so none is ever taken from a value.
type name string

// Header parameters (RFC 7515 §4.1, RFC 7516 §4.1, RFC 7518 §4.6.1). Left out on purpose: crit, b64, jku, jwk, x5u, x5c,
// x5t, zip, apu, apv and p2c; a header with any of them is refused.
const (
	headerAlgorithm    name = "alg"
	headerEncryption   name = "enc"
	headerEphemeralKey name = "epk"
	headerKeyID        name = "kid"
	headerType         name = "typ"
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

// Confirmation methods (RFC 7800 §3). jku and jkt are left out: no key of ours is fetched, and no access token for a
// device carries jkt (D11).
const (
	methodKey       name = "jwk"
	methodEncrypted name = "jwe"
	methodKeyID     name = "kid"
)

// Members of JSON Web Keys and their sets (RFC 7517 §4, §5, RFC 7518 §6).
const (
	keyType      name = "kty"
	keyUse       name = "use"
	keyAlgorithm name = "alg"
	keyID        name = "kid"
	keyCurve     name = "crv"
	keyX         name = "x"
	keyY         name = "y"
	keySecret    name = "k"
	setKeys      name = "keys"
)

// Members of the private claim (D6).
const (
	grantEpoch name = "epoch"
	grantID    name = "grant"
	grantOnce  name = "once"
)

// table lists every name that one kind of object may have.
type table map[name]bool

var (
	signedHeader    = tableOf(headerAlgorithm, headerKeyID, headerType)
	encryptedHeader = tableOf(headerAlgorithm, headerEncryption, headerEphemeralKey)
	claimNames      = tableOf(claimIssuer, claimSubject, claimAudience, claimExpires, claimNotBefore, claimIssuedAt, claimID,
		claimConfirmation, claimScope, claimClientID, claimProfile, claimCNonce, claimExpiresIn, claimGrant)
	methodNames = tableOf(methodKey, methodEncrypted, methodKeyID)
	publicKey   = tableOf(keyType, keyCurve, keyX, keyY)
	listedKey   = tableOf(keyType, keyUse, keyAlgorithm, keyID, keyCurve, keyX, keyY)
	secretKey   = tableOf(keyType, keySecret, keyID)
	keySet      = tableOf(setKeys)
	grantNames  = tableOf(grantEpoch, grantID, grantOnce)
)

func tableOf(names ...name) table {
	t := make(table, len(names))
	for _, n := range names {
		t[n] = true
	}
	return t
}
