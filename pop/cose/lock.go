package cose

import (
	"io"

	"github.com/latchkey-ace/latchkey/pop/internal/keywrap"
	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// Content is what Encrypt and Mac protect.
type Content struct {
	Algorithm Algorithm // of the content: an AEAD, or an HMAC
	Data      []byte
	External  []byte // externally supplied data, may be nil
}

// To is one recipient of what Encrypt and Mac make, and how it gets the content key.
type To struct {
	// Key is symmetric for Direct, DirectHKDF256 and A128KW, and a public one on P-256, P-384 or X25519 for ECDHESHKDF256
	// and ECDHESA128KW. Its id goes into the message.
	Key       *Key
	Algorithm Algorithm
}

// recipientHeader is a bucket of our recipients. The published examples leave key id and ephemeral key unprotected; a byte
// more here binds both, and with them the sign of the point, which ECDH itself does not see.
type recipientHeader struct {
	Algorithm Algorithm       `cbor:"1,keyasint"`
	KeyID     []byte          `cbor:"4,keyasint,omitempty"`
	Ephemeral wire.RawMessage `cbor:"-1,keyasint,omitempty"`
	Nonce     []byte          `cbor:"-22,keyasint,omitempty"`
}

// encodeHeader gives a bucket that says no more than algorithm and key id.
func encodeHeader(alg Algorithm, kid KeyID) ([]byte, error) {
	return wire.Marshal(recipientHeader{Algorithm: alg, KeyID: kid})
}

// lock makes the content key and the encoded array of recipients.
func lock(to []To, want need, rand io.Reader) ([]byte, *contentKey, error) {
	if len(to) == 0 || len(to) > maxRecipients {
		return nil, nil, unfit("%d recipients, want 1 to %d", len(to), maxRecipients)
	}
	out := appendHead(nil, majorArray, uint64(len(to)))
	if len(to) == 1 && isDirect(to[0].Algorithm) {
		recipient, key, err := to[0].share(want, rand)
		return append(out, recipient...), key, err
	}
	secret, err := draw(want.size, rand)
	if err != nil {
		return nil, nil, err
	}
	for _, t := range to {
		if isDirect(t.Algorithm) {
			return nil, nil, unfit("%v has one recipient only", t.Algorithm)
		}
		recipient, err := t.wrap(secret, rand)
		if err != nil {
			return nil, nil, err
		}
		out = append(out, recipient...)
	}
	return out, &contentKey{secret: secret}, nil
}

// share gives the recipient of a method in which the content key is the key itself or derived from it.
func (t To) share(want need, rand io.Reader) ([]byte, *contentKey, error) {
	switch t.Algorithm {
	case Direct:
		if err := t.Key.permits(want.alg, want.op); err != nil {
			return nil, nil, err
		}
		open, err := encodeHeader(Direct, t.Key.id) // RFC 9053 §6.1.1: nothing may be protected
		return assemble(nil, open, nil), t.Key.content(), err
	case DirectHKDF256:
		if err := t.Key.permits(t.Algorithm, OperationDeriveKey, OperationDeriveBits); err != nil {
			return nil, nil, err
		}
		if t.Key.kind != KeyTypeSymmetric {
			return nil, nil, unfit("%v needs a symmetric key", t.Algorithm)
		}
		nonce, err := draw(partyNonceSize, rand)
		if err != nil {
			return nil, nil, err
		}
		h, err := newHeader(recipientHeader{Algorithm: t.Algorithm, KeyID: t.Key.id, Nonce: nonce})
		if err != nil {
			return nil, nil, err
		}
		key, err := h.derive(t.Key.secret, want, &Options{})
		return assemble(h.protected, emptyMap, nil), key, err
	}
	h, key, err := t.agree(want, rand)
	if err != nil {
		return nil, nil, err
	}
	return assemble(h.protected, emptyMap, nil), key, nil
}

// newHeader encodes a bucket and reads it back, so that both sides derive from the same thing.
func newHeader(content recipientHeader) (header, error) {
	var h header
	protected, err := wire.Marshal(content)
	if err != nil {
		return h, err
	}
	return h, h.parse(protected, emptyMap)
}

// agree makes an ephemeral key, the header that carries it and the key that both sides derive.
func (t To) agree(want need, rand io.Reader) (header, *contentKey, error) {
	// RFC 9053 §6.3.1 wants no operations on a public key. A private key may stand in for it with its own.
	if err := t.Key.permits(t.Algorithm, OperationDeriveKey, OperationDeriveBits); err != nil {
		return header{}, nil, err
	}
	public, err := t.Key.ECDH()
	if err != nil {
		return header{}, nil, err
	}
	private, err := newEphemeral(public.Curve(), rand)
	if err != nil {
		return header{}, nil, err
	}
	ephemeral, err := encodeEphemeral(private.PublicKey())
	if err != nil {
		return header{}, nil, err
	}
	h, err := newHeader(recipientHeader{Algorithm: t.Algorithm, KeyID: t.Key.id, Ephemeral: ephemeral})
	if err != nil {
		return header{}, nil, err
	}
	secret, err := private.ECDH(public)
	if err != nil {
		return header{}, nil, unfit("the recipient's key is of low order")
	}
	key, err := h.derive(secret, want, &Options{})
	return h, key, err
}

// wrap gives the recipient of a method in which the content key is wrapped.
func (t To) wrap(secret []byte, rand io.Reader) ([]byte, error) {
	switch t.Algorithm {
	case A128KW:
		if err := t.Key.permits(A128KW, OperationWrap); err != nil {
			return nil, err
		}
		if len(t.Key.secret) != wrappingKeySize {
			return nil, unfit("%v needs %d bytes, not %d", A128KW, wrappingKeySize, len(t.Key.secret))
		}
		open, err := encodeHeader(A128KW, t.Key.id) // RFC 9053 §6.2.1: nothing may be protected
		if err != nil {
			return nil, err
		}
		wrapped, err := keywrap.Wrap(t.Key.secret, secret)
		return assemble(nil, open, wrapped), err
	case ECDHESA128KW:
		h, kek, err := t.agree(need{alg: A128KW, size: wrappingKeySize}, rand)
		if err != nil {
			return nil, err
		}
		wrapped, err := keywrap.Wrap(kek.secret, secret)
		return assemble(h.protected, emptyMap, wrapped), err
	}
	return nil, unsupported(t.Algorithm)
}
