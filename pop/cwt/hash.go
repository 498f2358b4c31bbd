package cwt

import (
	"crypto/sha256"
	"encoding/base64"
)

// HashSize is the length in bytes of a token hash.
const HashSize = 1 + sha256.Size

// suiteSHA256 is sha-256 in the Named Information Hash Algorithm Registry (RFC 6920 §9.4).
const suiteSHA256 = 1

// Hash is the token hash of RFC 9770 §4 for an access token that is a byte string, as a CWT is in every answer, or a JWT
// in a CBOR answer: taken over the unpadded base64url text of the bytes, not over the bytes.
func Hash(token []byte) [HashSize]byte {
	return hashText(base64.RawURLEncoding.AppendEncode(make([]byte, 0, 512), token))
}

// HashJWT gives both hashes a compact JWT can be listed under: as a JSON answer and as a CBOR answer would carry it. A
// resource server that does not know which it was keeps both.
func HashJWT(compact string) (asJSON, asCBOR [HashSize]byte) {
	return hashText([]byte(compact)), Hash([]byte(compact))
}

func hashText(text []byte) (hash [HashSize]byte) {
	digest := sha256.Sum256(text)
	hash[0] = suiteSHA256
	copy(hash[1:], digest[:])
	return hash
}
