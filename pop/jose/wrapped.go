package jose

import "fmt"

// wrappedHeader are the parameters of a wrapped JWE. What would have a reader inflate (zip), derive (p2c) or fetch (jku, x5u) is not among them.
var wrappedHeader = tableOf(headerAlgorithm, headerEncryption, headerKeyID, headerType, headerContent)

// CheckWrapped accepts the one shape of a JWE that one party encrypts to another under a secret key of both: compact, A256KW with A256GCM
// (RFC 7518 §4.4, §5.3), of JWT or of nothing named. Only pop/jose/jwe opens it. Errors wrap ErrForm or ErrProtection.
func CheckWrapped(encrypted string) error {
	parts, err := splitJWE(encrypted, MaxWrapped)
	if err != nil {
		return err
	}
	if err := checkWrappedHeader(parts[0]); err != nil {
		return err
	}
	if len(parts[1]) != 32+8 || len(parts[2]) != 12 || len(parts[3]) == 0 || len(parts[4]) != 16 {
		return fmt.Errorf("%w: jwe parts have other lengths than A256KW with A256GCM", ErrForm)
	}
	return nil
}

func checkWrappedHeader(header []byte) error {
	o, err := parse(header)
	if err != nil {
		return fmt.Errorf("%w: jwe header: %w", ErrForm, err)
	}
	for n := range o {
		if !wrappedHeader[n] {
			return fmt.Errorf("%w: jwe header parameter %.32q is not allowed", ErrProtection, n)
		}
	}
	for n, want := range map[name]string{headerAlgorithm: "A256KW", headerEncryption: "A256GCM"} {
		if got, err := o.text(n, maxID); err != nil || got != want {
			return fmt.Errorf("%w: jwe %s is not %s", ErrProtection, n, want)
		}
	}
	for n, want := range map[name]string{headerType: "JWT", headerContent: "JWT"} {
		if got, err := o.text(n, maxID); err != nil || got != "" && got != want {
			return fmt.Errorf("%w: jwe %s is not %s", ErrProtection, n, want)
		}
	}
	if kid, err := o.text(headerKeyID, maxForeignID); err != nil || !printable(kid) {
		return fmt.Errorf("%w: jwe %s", ErrForm, headerKeyID)
	}
	return nil
}
