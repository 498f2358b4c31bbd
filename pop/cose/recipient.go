package cose

import (
	"errors"

	"github.com/latchkey-ace/latchkey/pop/internal/keywrap"
)

// recipient is COSE_recipient (RFC 9052 §5.1); its content is the wrapped key.
type recipient struct {
	message
	nested []recipient
}

// need is what the layer above wants a key for.
type need struct {
	alg  Algorithm
	size int          // bytes of a key that is made or derived
	op   KeyOperation // of a key that is used directly
}

// parseRecipients reads 1 to 16 recipients, those of the layer below counted. depth is that of the array, from 1.
func parseRecipients(r *reader, depth int) ([]recipient, error) {
	n, ok := r.items(majorArray)
	if !ok || n == 0 || n > maxRecipients {
		return nil, malformed("recipients are not an array of 1 to %d", maxRecipients)
	}
	if depth > maxLayers {
		return nil, malformed("recipients nested deeper than %d", maxLayers)
	}
	list := make([]recipient, n)
	total := n
	for i := range list {
		if err := list[i].parse(r, depth); err != nil {
			return nil, err
		}
		if total += len(list[i].nested); total > maxRecipients {
			return nil, malformed("more than %d recipients in all layers", maxRecipients)
		}
	}
	return list, nil
}

func (t *recipient) parse(r *reader, depth int) error {
	n, ok := r.items(majorArray)
	if !ok || n != 3 && n != 4 {
		return malformed("recipient is not an array of 3 or 4")
	}
	if err := t.readBuckets(r); err != nil {
		return err
	}
	if t.content, ok = r.bytes(); !ok {
		return malformed("the ciphertext of a recipient is not a byte string")
	}
	if n == 3 {
		return nil
	}
	var err error
	t.nested, err = parseRecipients(r, depth+1)
	return err
}

// isDirect holds for the methods that give the content key itself, and therefore to one recipient only (RFC 9052 §8.5).
func isDirect(alg Algorithm) bool {
	return alg == Direct || alg == DirectHKDF256 || alg == ECDHESHKDF256
}

// unlock gives the key that want needs from the first recipient that find has a key for.
func unlock(list []recipient, want need, find FindKey, o *Options) (*contentKey, error) {
	errs := make([]error, 0, len(list))
	for i := range list {
		if len(list) > 1 && isDirect(list[i].header.alg) {
			return nil, malformed("%v is not the only recipient", list[i].header.alg)
		}
	}
	for i := range list {
		key, err := list[i].unlock(want, find, o)
		if err == nil {
			return key, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (t *recipient) unlock(want need, find FindKey, o *Options) (*contentKey, error) {
	h := &t.header
	if err := h.checkCritical(o); err != nil {
		return nil, err
	}
	if t.nested != nil && h.alg != A128KW {
		return nil, malformed("%v has recipients of its own", h.alg)
	}
	if isDirect(h.alg) && len(t.content) > 0 {
		return nil, malformed("%v with a wrapped key", h.alg) // RFC 9052 §8.5.1, §8.5.4
	}
	switch {
	case h.algName != "":
		return nil, unsupported(h.algName)
	case h.alg == 0:
		return nil, malformed("recipient without algorithm")
	case (h.alg == Direct || h.alg == A128KW) && len(h.protected) > 0:
		return nil, malformed("%v with a protected header", h.alg) // RFC 9053 §6.1.1, §6.2.1
	}
	switch h.alg {
	case Direct:
		key, err := findFor(h, find, want.alg, want.op)
		if err != nil {
			return nil, err
		}
		return key.content(), nil
	case DirectHKDF256:
		key, err := findFor(h, find, h.alg, OperationDeriveKey, OperationDeriveBits)
		if err != nil {
			return nil, err
		}
		if key.kind != KeyTypeSymmetric {
			return nil, unfit("%v needs a symmetric key", h.alg)
		}
		return h.derive(key.secret, want, o)
	case A128KW:
		kek, err := t.wrappingKey(find, o)
		if err != nil {
			return nil, err
		}
		return t.unwrap(kek, want)
	case ECDHESHKDF256:
		return h.agree(find, want, o)
	case ECDHESA128KW:
		kek, err := h.agree(find, need{alg: A128KW, size: wrappingKeySize}, o)
		if err != nil {
			return nil, err
		}
		return t.unwrap(kek.secret, want)
	}
	return nil, unsupported(h.alg)
}

// wrappingKeySize is that of A128KW in bytes.
const wrappingKeySize = 16

// wrappingKey is the caller's, or what the recipients of the recipient give.
func (t *recipient) wrappingKey(find FindKey, o *Options) ([]byte, error) {
	if t.nested != nil {
		key, err := unlock(t.nested, need{A128KW, wrappingKeySize, OperationUnwrap}, find, o)
		if err != nil {
			return nil, err
		}
		return key.bytes(), nil
	}
	key, err := findFor(&t.header, find, A128KW, OperationUnwrap)
	if err != nil {
		return nil, err
	}
	return key.secret, nil
}

func (t *recipient) unwrap(kek []byte, want need) (*contentKey, error) {
	if len(kek) != wrappingKeySize {
		return nil, unfit("%v needs %d bytes, not %d", A128KW, wrappingKeySize, len(kek))
	}
	secret, err := keywrap.Unwrap(kek, t.content)
	if err != nil {
		return nil, ErrVerification
	}
	if len(secret) != want.size {
		return nil, unfit("%v needs %d bytes, not %d", want.alg, want.size, len(secret))
	}
	return &contentKey{secret: secret}, nil
}
