package ace

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// kind is how a value changes between CBOR and JSON. JSON and forms are always read by way of CBOR, so that one
// request cannot mean two things.
type kind struct {
	fromJSON func(json.RawMessage) (any, error) // to what wire.Marshal takes
	toJSON   func(wire.RawMessage) (any, error) // to what json.Marshal takes
}

var (
	kindText         = kind{from(jsonText), to(textOf)}
	kindSecret       = kind{secretFromJSON, secretToJSON}
	kindBytes        = kind{from(jsonBytes), bytesToJSON}
	kindItem         = kind{itemFromJSON, itemToJSON}
	kindUint         = kind{uintFromJSON, to(uintOf)}
	kindTexts        = kind{textsFromJSON, to(textsOf)}
	kindConfirmation = kind{confirmationFromJSON, confirmationToJSON}
	kindGrantType    = kind{grantTypeFromJSON, grantTypeToJSON}
	kindTokenType    = kind{tokenTypeFromJSON, tokenTypeToJSON}
	kindProfile      = kind{profileFromJSON, profileToJSON}
	kindToken        = kind{tokenFromJSON, tokenToJSON}
	kindDetails      = kind{detailsFromJSON, detailsToJSON}
	// kindRefused may hold anything: it is the reader who refuses it (D10).
	kindRefused = kind{
		func(json.RawMessage) (any, error) { return true, nil },
		func(wire.RawMessage) (any, error) { return true, nil },
	}
	// kindNone has no JSON form in our messages.
	kindNone = kind{}
)

func from[T any](f func(json.RawMessage) (T, error)) func(json.RawMessage) (any, error) {
	return func(raw json.RawMessage) (any, error) { return f(raw) }
}

func to[T any](f func(wire.RawMessage) (T, error)) func(wire.RawMessage) (any, error) {
	return func(raw wire.RawMessage) (any, error) { return f(raw) }
}

// fieldsFromMembers reads an object; members we do not know are ignored (RFC 6749 §3.2).
func fieldsFromMembers(members map[string]json.RawMessage) (fields, error) {
	f := make(fields)
	for name, raw := range members {
		row, known := rowNamed(name)
		if !known || row.kind.fromJSON == nil {
			continue
		}
		if _, twice := f[row.param]; twice {
			return nil, named(row.param, errBoth)
		}
		value, err := row.kind.fromJSON(raw)
		if err != nil {
			return nil, named(row.param, err)
		}
		if f[row.param], err = wire.Marshal(value); err != nil {
			return nil, named(row.param, err)
		}
	}
	return f, nil
}

// named says which parameter is wrong, unless the error is already what goes on the wire.
func named(p Parameter, err error) error {
	if errors.As(err, new(*Error)) {
		return err
	}
	return fmt.Errorf("%s: %w", p, err)
}

// json writes the object, members in order of name.
func (f fields) json() ([]byte, error) {
	members := make(map[string]any, len(f))
	for p, raw := range f {
		row := rowFor(p, raw)
		if row.kind.toJSON == nil {
			continue
		}
		value, err := row.kind.toJSON(raw)
		if err != nil {
			return nil, named(p, err)
		}
		members[row.name] = value
	}
	return writeObject(members)
}

// rowFor finds a parameter's member; a scope has one for each CBOR type.
func rowFor(p Parameter, raw wire.RawMessage) row {
	name := p.String()
	if p == ParamScope && major(raw) == majorBytes {
		name = memberScopeAIF
	}
	r, _ := rowNamed(name)
	return r
}

func secretFromJSON(raw json.RawMessage) (any, error) {
	s, err := jsonText(raw)
	return []byte(s), err
}

func secretToJSON(raw wire.RawMessage) (any, error) {
	b, err := bytesOf(raw)
	return string(b), err
}

func bytesToJSON(raw wire.RawMessage) (any, error) {
	b, err := bytesOf(raw)
	return encode64(b), err
}

// itemFromJSON reads base64url of a CBOR item (workflow-08 §3.2).
func itemFromJSON(raw json.RawMessage) (any, error) {
	b, err := jsonBytes(raw)
	if err != nil {
		return nil, err
	}
	return uploadOf(b)
}

func itemToJSON(raw wire.RawMessage) (any, error) { return encode64(raw), nil }

func uintFromJSON(raw json.RawMessage) (any, error) {
	n, err := strconv.ParseUint(string(raw), 10, 64)
	if err != nil {
		return nil, errors.New("not an unsigned integer")
	}
	return n, nil
}

func textsFromJSON(raw json.RawMessage) (any, error) {
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil || items == nil {
		return nil, errors.New("not an array of strings")
	}
	out := []string{}
	for _, item := range items {
		s, err := jsonText(item)
		if err != nil {
			return nil, errors.New("not an array of strings")
		}
		out = append(out, s)
	}
	return out, nil
}

func grantTypeFromJSON(raw json.RawMessage) (any, error) {
	name, err := jsonText(raw)
	if err != nil {
		return nil, err
	}
	number := grantNumber(name)
	if number < 0 {
		return nil, unsupportedGrant(name)
	}
	return number, nil
}

func grantTypeToJSON(raw wire.RawMessage) (any, error) {
	n, err := uintOf(raw)
	if err != nil || grantTypes[n] == "" {
		return nil, errors.New("unknown grant type")
	}
	return grantTypes[n], nil
}

func tokenTypeFromJSON(raw json.RawMessage) (any, error) {
	name, err := jsonText(raw)
	if err != nil {
		return nil, err
	}
	t, ok := parseTokenType(name)
	if !ok {
		return nil, errors.New("unknown token type")
	}
	return int(t), nil
}

func tokenTypeToJSON(raw wire.RawMessage) (any, error) {
	n, err := intOf(raw)
	return TokenType(n).String(), err
}

// profileFromJSON takes names only: the number in RFC 9770's JSON figure is a slip. The empty string is RFC 9200's
// null, "tell me the profile".
func profileFromJSON(raw json.RawMessage) (any, error) {
	name, err := jsonText(raw)
	if err != nil || name == "" {
		return nil, err
	}
	p, ok := parseProfile(name)
	if !ok {
		return nil, unservedProfile()
	}
	return int(p), nil
}

func profileToJSON(raw wire.RawMessage) (any, error) {
	if isNull(raw) {
		return "", nil
	}
	n, err := intOf(raw)
	return pop.Profile(n).String(), err
}

// tokenFromJSON reads a JWT as it is and a CWT in base64url (D8).
func tokenFromJSON(raw json.RawMessage) (any, error) {
	s, err := jsonText(raw)
	if err != nil {
		return nil, err
	}
	if isJWT([]byte(s)) {
		return []byte(s), nil
	}
	return decode64(s)
}

func tokenToJSON(raw wire.RawMessage) (any, error) {
	token, err := bytesOf(raw)
	if err != nil {
		return nil, err
	}
	if isJWT(token) {
		return string(token), nil
	}
	return encode64(token), nil
}

// detailsFromJSON keeps authorization_details as the text they are: their meaning is the server's.
func detailsFromJSON(raw json.RawMessage) (any, error) {
	if len(raw) == 0 || raw[0] != '[' {
		return nil, errDetails
	}
	out, err := json.Marshal(raw) // in the one spelling that it is written in again
	if err != nil {
		return nil, errDetails
	}
	return string(out), nil
}

func detailsToJSON(raw wire.RawMessage) (any, error) {
	s, err := textOf(raw)
	return json.RawMessage(s), err
}

// isJWT tells a compact JWS or JWE from a CWT, whose first byte is a CBOR tag and no letter, and from base64url, which
// has no dot.
func isJWT(token []byte) bool {
	if dots := bytes.Count(token, []byte{'.'}); dots != 2 && dots != 4 {
		return false
	}
	return !slices.ContainsFunc(token, func(c byte) bool {
		return c != '.' && c != '-' && c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z')
	})
}
