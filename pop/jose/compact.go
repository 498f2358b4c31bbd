package jose

import (
	"errors"
	"fmt"
	"strings"
)

// envelope is a compact JWS (RFC 7515 §7.1) that has been read and not verified.
type envelope struct {
	header    object
	input     []byte // what is signed
	payload   []byte
	signature []byte
}

// split reads the three parts of a compact JWS. Nothing is allocated for a token that is too long or has another number of
// dots. Every error is ErrForm.
func split(token string, limit int) (envelope, error) {
	var e envelope
	if len(token) > limit {
		return e, fmt.Errorf("%w: %d bytes, at most %d", ErrForm, len(token), limit)
	}
	if strings.Count(token, ".") != 2 {
		return e, fmt.Errorf("%w: not a compact JWS", ErrForm)
	}
	last := strings.LastIndexByte(token, '.')
	e.input = []byte(token[:last])
	head, body, _ := strings.Cut(token[:last], ".")
	var parts [3][]byte
	for i, text := range [...]string{head, body, token[last+1:]} {
		var err error
		if parts[i], err = decode64(text); err != nil {
			return e, fmt.Errorf("%w: part %d: %w", ErrForm, i+1, err)
		}
	}
	e.payload, e.signature = parts[1], parts[2]
	var err error
	if e.header, err = parseTo(parts[0], maxForeignDepth); err != nil {
		return e, fmt.Errorf("%w: header: %w", ErrForm, err)
	}
	return e, nil
}

// algorithm is the one of the signer's key.
func (s Signer) algorithm() (Algorithm, error) {
	if s.Key == nil {
		return 0, errors.New("no signing key")
	}
	return algorithmOf(s.Key.Public())
}

// named gives the header of a token whose signer is known by a kid, or by the attestation beside it.
func (s Signer) named(t Type) (header []byte, err error) {
	alg, err := s.algorithm()
	if err != nil {
		return nil, err
	}
	if err := checkKeyID(s.ID); err != nil && (t != TypeAttestationPoP || s.ID != "") {
		return nil, err
	}
	return signedHeader.encode(member{headerAlgorithm, alg.String()}, member{headerKeyID, textOrNone(s.ID)}, member{headerType, t.String()})
}

// compact signs header and payload.
func (s Signer) compact(header, payload []byte, limit int) (string, error) {
	alg, err := s.algorithm()
	if err != nil {
		return "", err
	}
	input := encode64(header) + "." + encode64(payload)
	signature, err := sign(s.Key, alg, []byte(input))
	if err != nil {
		return "", err
	}
	token := input + "." + encode64(signature)
	if len(token) > limit {
		return "", fmt.Errorf("%d bytes, at most %d", len(token), limit)
	}
	return token, nil
}

// checkKeyID allows what prints in ASCII: a kid is written into headers and logs.
func checkKeyID(id string) error {
	if id == "" || len(id) > MaxKeyID {
		return fmt.Errorf("kid of %d bytes, allowed are 1 to %d", len(id), MaxKeyID)
	}
	if !printable(id) {
		return errors.New("kid holds a byte that does not print")
	}
	return nil
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
