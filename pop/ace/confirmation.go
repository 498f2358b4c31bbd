package ace

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// Confirmation methods (RFC 8747 §7.2, RFC 9203 §9.4) that have a JSON form here.
const (
	methodKey    = 1
	methodKeyID  = 3
	methodOSCORE = 4
)

// COSE_Key labels (RFC 9052 §7, RFC 9053 §7) that a JWK can say. Left out: keys on other curves than P-256, which
// nobody here can use, and alg and key_ops, which JSON says in words.
const (
	labelKty = 1
	labelKid = 2
	labelCrv = -1 // of an EC2 key
	labelK   = -1 // of a symmetric key
	labelX   = -2
	labelY   = -3

	ktyEC2  = 2
	ktyOct  = 4
	crvP256 = 1
)

// octet is a byte string of a key under its two names.
type octet struct {
	label  int64
	member string
}

var (
	octetsOfEC  = []octet{{labelX, "x"}, {labelY, "y"}}
	octetsOfOct = []octet{{labelK, "k"}}
)

// oscoreMembers are the parameters of OSCORE_Input_Material (RFC 9203 §3.2.1); index is the label.
var oscoreMembers = []struct {
	name string
	kind kind
}{
	{"id", kindBytes}, {"version", kindUint}, {"ms", kindBytes}, {"hkdf", kindInt}, {"alg", kindInt},
	{"salt", kindBytes}, {"contextId", kindBytes},
}

var kindInt = kind{
	func(raw json.RawMessage) (any, error) {
		var n int64
		if err := json.Unmarshal(raw, &n); err != nil || string(raw) == "null" {
			return nil, errors.New("not an integer")
		}
		return n, nil
	},
	to(intOf),
}

// confirmationFromJSON turns {"jwk": …}, {"kid": …} or {"osc": …} (RFC 7800, RFC 9203 §3.2.1) into the CBOR map.
// Exactly one method must stand there. kid is unpadded base64url, because COSE key ids are bytes.
func confirmationFromJSON(raw json.RawMessage) (any, error) {
	members, err := parseObject(raw)
	if err != nil {
		return nil, err
	}
	if len(members) != 1 {
		return nil, errors.New("want exactly one confirmation method")
	}
	for name, value := range members {
		switch name {
		case "jwk":
			return method(methodKey, keyFromJWK)(value)
		case "kid":
			return method(methodKeyID, kindBytes.fromJSON)(value)
		case "osc":
			return method(methodOSCORE, oscoreFromJSON)(value)
		}
	}
	return nil, errors.New("unknown confirmation method")
}

func method(label int64, read func(json.RawMessage) (any, error)) func(json.RawMessage) (any, error) {
	return func(raw json.RawMessage) (any, error) {
		value, err := read(raw)
		return map[int64]any{label: value}, err
	}
}

func confirmationToJSON(raw wire.RawMessage) (any, error) {
	m, err := mapOf(raw)
	if err != nil || len(m) != 1 {
		return nil, errors.New("want exactly one confirmation method")
	}
	if key := m.get(methodKey); key != nil {
		value, err := keyToJWK(key)
		return map[string]any{"jwk": value}, err
	}
	if kid := m.get(methodKeyID); kid != nil {
		value, err := bytesToJSON(kid)
		return map[string]any{"kid": value}, err
	}
	if material := m.get(methodOSCORE); material != nil {
		value, err := oscoreToJSON(material)
		return map[string]any{"osc": value}, err
	}
	return nil, errors.New("this confirmation method has no JSON form")
}

func oscoreFromJSON(raw json.RawMessage) (any, error) {
	members, err := parseObject(raw)
	if err != nil {
		return nil, err
	}
	out := make(map[int64]any)
	for label, m := range oscoreMembers {
		value, ok := members[m.name]
		if !ok {
			continue
		}
		delete(members, m.name)
		if out[int64(label)], err = m.kind.fromJSON(value); err != nil {
			return nil, fmt.Errorf("osc %s: %w", m.name, err)
		}
	}
	if len(members) > 0 {
		return nil, errors.New("osc: unknown parameter") // RFC 9203 §3.2.1
	}
	return out, nil
}

func oscoreToJSON(raw wire.RawMessage) (any, error) {
	m, err := mapOf(raw)
	if err != nil {
		return nil, errors.New("osc: not a map")
	}
	out := make(map[string]any, len(m))
	for _, at := range m {
		label, value := at.label, at.value
		if label < 0 || label >= int64(len(oscoreMembers)) {
			return nil, errors.New("osc: unknown parameter")
		}
		member, err := oscoreMembers[label].kind.toJSON(value)
		if err != nil {
			return nil, fmt.Errorf("osc %s: %w", oscoreMembers[label].name, err)
		}
		out[oscoreMembers[label].name] = member
	}
	return out, nil
}

// keyFromJWK turns a JWK into a COSE_Key. Members that say how a key may be used are ignored, as browsers write them;
// a private part is refused, since possession is shown and never sent (RFC 9201 §3.1).
func keyFromJWK(raw json.RawMessage) (any, error) {
	members, err := parseObject(raw)
	if err != nil {
		return nil, err
	}
	if _, ok := members["d"]; ok {
		return nil, errors.New("jwk holds a private key")
	}
	kty, err := jsonText(members["kty"])
	if err != nil {
		return nil, fmt.Errorf("jwk kty: %w", err)
	}
	var key map[int64]any
	var parts []octet
	switch crv, _ := jsonText(members["crv"]); {
	case kty == "oct":
		key, parts = map[int64]any{labelKty: ktyOct}, octetsOfOct
	case kty == "EC" && crv == "P-256":
		key, parts = map[int64]any{labelKty: ktyEC2, labelCrv: crvP256}, octetsOfEC
	default:
		return nil, errors.New("jwk kty, crv: neither oct nor EC on P-256")
	}
	if _, ok := members["kid"]; ok {
		parts = append(slices.Clone(parts), octet{labelKid, "kid"})
	}
	for _, part := range parts {
		if key[part.label], err = jsonBytes(members[part.member]); err != nil {
			return nil, fmt.Errorf("jwk %s: %w", part.member, err)
		}
	}
	return key, nil
}

func keyToJWK(raw wire.RawMessage) (any, error) {
	key, err := mapOf(raw)
	if err != nil {
		return nil, errors.New("jwk: not a COSE_Key")
	}
	kty, err := intOf(key.get(labelKty))
	if err != nil {
		return nil, fmt.Errorf("jwk kty: %w", err)
	}
	var jwk map[string]any
	var parts []octet
	switch crv, _ := intOf(key.get(labelCrv)); {
	case kty == ktyOct:
		jwk, parts = map[string]any{"kty": "oct"}, octetsOfOct
	case kty == ktyEC2 && crv == crvP256:
		jwk, parts = map[string]any{"kty": "EC", "crv": "P-256"}, octetsOfEC
	default:
		return nil, errors.New("jwk kty, crv: neither oct nor EC on P-256")
	}
	if key.get(labelKid) != nil {
		parts = append(slices.Clone(parts), octet{labelKid, "kid"})
	}
	for _, part := range parts {
		if jwk[part.member], err = bytesToJSON(key.get(part.label)); err != nil {
			return nil, fmt.Errorf("jwk %s: %w", part.member, err)
		}
	}
	// Each label has one member; a label that is left over would be lost.
	if len(jwk) != len(key) {
		return nil, errors.New("jwk: this key has parts without a JSON form")
	}
	return jwk, nil
}
