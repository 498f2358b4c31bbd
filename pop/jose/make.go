package jose

import (
	"fmt"
	"maps"
	"slices"
	"time"
	"unicode/utf8"
)

// Make signs a JSON Web Token of the given type. private are claims without a field of Registered; their names must stand in
// the table of the type, and their values be what encoding/json can write. A shared secret in the confirmation is
// ErrSecretInClear. What the type requires is its maker's to know: see SignAccess, Prove.
func Make(t Type, r Registered, private map[Claim]any, s Signer) (string, error) {
	token, err := assemble(t, r, private, s)
	if err != nil {
		return "", fmt.Errorf("sign %v: %w", t, err)
	}
	return token, nil
}

func assemble(t Type, r Registered, private map[Claim]any, s Signer) (string, error) {
	header, err := s.named(t)
	if err != nil {
		return "", err
	}
	payload, err := encodePayload(t, r, private)
	if err != nil {
		return "", err
	}
	return s.compact(header, payload, MaxForeign)
}

// encodePayload writes the claims and refuses what read would.
func encodePayload(t Type, r Registered, private map[Claim]any) ([]byte, error) {
	if _, ok := types[t]; !ok || t == TypeAssertion {
		return nil, fmt.Errorf("tokens of this type are not made here")
	}
	members, err := r.members()
	if err != nil {
		return nil, err
	}
	for _, c := range slices.Sorted(maps.Keys(private)) {
		if registeredNames[name(c)] || !types[t].private[name(c)] {
			return nil, fmt.Errorf("claim %.32q is not in the table of %v", c, t)
		}
		members = append(members, member{name(c), private[c]})
	}
	payload, err := t.names().encode(members...)
	if err != nil {
		return nil, err
	}
	// What the caller brought as JSON could still hold a name twice or be nested without end.
	return payload, new(Token).read(payload)
}

func (r *Registered) members() ([]member, error) {
	for n, s := range map[name]string{claimIssuer: r.Issuer, claimSubject: r.Subject, claimID: r.ID} {
		if len(s) > maxForeignText || !utf8.ValidString(s) {
			return nil, fmt.Errorf("%s: %w", n, errNotText)
		}
	}
	for n, t := range map[name]time.Time{claimExpires: r.Expires, claimNotBefore: r.NotBefore, claimIssuedAt: r.IssuedAt} {
		if !t.IsZero() && (t.Unix() < 0 || t.Unix() > maxDate) {
			return nil, fmt.Errorf("%s: %w", n, errNotNumber)
		}
	}
	var audience, confirmation any
	switch len(r.Audience) {
	case 0:
	case 1:
		audience = r.Audience[0]
	default:
		audience = r.Audience
	}
	if r.Confirmation != nil {
		cnf, err := r.Confirmation.encode()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", claimConfirmation, err)
		}
		confirmation = cnf
	}
	return []member{
		{claimIssuer, textOrNone(r.Issuer)}, {claimSubject, textOrNone(r.Subject)}, {claimAudience, audience},
		{claimExpires, date(r.Expires)}, {claimNotBefore, date(r.NotBefore)}, {claimIssuedAt, date(r.IssuedAt)},
		{claimID, textOrNone(r.ID)}, {claimConfirmation, confirmation},
	}, nil
}
