package clientauth

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/jose"
)

// AssertionType is the only client_assertion_type taken (RFC 7523 §2.2).
const AssertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

var assertionClaims = []jose.Claim{jose.ClaimIssuer, jose.ClaimSubject, jose.ClaimAudience, jose.ClaimExpires, jose.ClaimID}

// byAssertion judges private_key_jwt as RFC 7523 §3 and FAPI 2.0 §5.3.2.1 say: issuer and subject are the client, the audience
// is the issuer identifier and nothing else, it ends within MaxLife and is used once. The key is one that the client has
// registered, and its algorithm is the key's.
func byAssertion(a *Authenticator, c *authz.Client, p *Presented) ([]authz.Use, bool) {
	now, said := a.options.Now(), peek(p.Assertion)
	keys, err := jose.ParseSet([]byte(c.Keys))
	if err != nil {
		keys = &jose.Set{}
	}
	found := false
	// One signature is verified whatever the header names: by the time it takes nobody learns which clients and keys there are.
	find := func(kid string) (*jose.Key, error) {
		if k, err := keys.Find(kid); err == nil && k.Algorithm().String() == said.algorithm {
			found = true
			return k, nil
		}
		if k := a.decoys[said.algorithm]; k != nil {
			return k, nil
		}
		return nil, jose.ErrUnknownKey
	}
	t, err := jose.Verify(p.Assertion, jose.Expect{
		Type: jose.TypeAssertion, Keys: find, Issuer: c.ID, Audience: a.options.Issuer, Require: assertionClaims, Now: now, Skew: Skew,
	})
	switch {
	case err != nil || !found || c.ID == "" || a.options.Issuer == "":
	case t.Issuer != c.ID || t.Subject != c.ID || !said.oneAudience || t.ID == "":
	case !now.Before(t.Expires) || t.Expires.After(now.Add(MaxLife)):
	case !t.IssuedAt.IsZero() && t.IssuedAt.Before(now.Add(-MaxLife)):
	default:
		used := sha256.Sum256([]byte(c.ID + "\x00" + t.ID)) // of this client: nobody uses up another's
		return []authz.Use{{Kind: authz.UseAssertion, Value: used[:], Until: t.Expires.Add(keepAfter)}}, true
	}
	return nil, false
}

// claimed is what an assertion says before anybody has verified it.
type claimed struct {
	algorithm, subject, issuer string
	oneAudience                bool // aud is a text and not a list, of whose other entries one could be another server's
}

// peek reads what jose does not tell. What is malformed reads as empty; jose.Verify refuses it.
func peek(token string) (c claimed) {
	parts := strings.Split(token, ".")
	if len(token) > jose.MaxForeign || len(parts) != 3 {
		return c
	}
	header, err1 := members(parts[0])
	payload, err2 := members(parts[1])
	if errors.Join(err1, err2) != nil {
		return c
	}
	c.algorithm, c.subject, c.issuer = text(header["alg"]), text(payload["sub"]), text(payload["iss"])
	c.oneAudience = text(payload["aud"]) != ""
	return c
}

func members(part string) (m map[string]json.RawMessage, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return nil, err
	}
	return m, json.Unmarshal(raw, &m)
}

// text is a JSON string, "" for any other value.
func text(raw json.RawMessage) (s string) {
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// decoyKeys are good for nothing: nobody has kept their private halves, and what they verify is refused.
var decoyKeys = []string{
	`{"kty":"EC","crv":"P-256","x":"EqYuORGOl-Lal5yF_yNpAIQB_9djU7uk374H672nTZA","y":"6GPPiaPpawNifVSJ6jyrgJ7EAeUzBvOphrnSr0vlQI0"}`,
	`{"kty":"EC","crv":"P-384","x":"QIBYOBCp6vEQ5IfPUCoLZms08UNsUCvg4bXzp1x2pgt02DpyuxcNyw1o8LEPWar8","y":"ERHc_FNqPZ3PRcQN1iacucWnw7wQAnJbiZXF1qOdSAAF4sfitZ9FIRV4S_XkrG4p"}`,
	`{"kty":"OKP","crv":"Ed25519","x":"h6yaF46xbu-Y87f3i4B1W5XJbUdM2c2Sd5-l6itk9dE"}`,
}

func parseDecoys() map[string]*jose.Key {
	keys := make(map[string]*jose.Key)
	for _, jwk := range decoyKeys {
		k, err := jose.ParseKey([]byte(jwk))
		if err != nil {
			panic(err)
		}
		keys[k.Algorithm().String()] = k
	}
	return keys
}
