package cose

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/sha256"
	"io"

	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// derive is HKDF-SHA-256 over COSE_KDF_Context (RFC 9053 §5.1, §5.2).
func (h *header) derive(secret []byte, want need, o *Options) (*contentKey, error) {
	party, err := h.parties(o)
	if err != nil {
		return nil, err
	}
	key, err := hkdf.Key(sha256.New, secret, h.salt, string(h.kdfContext(want, party, o)), want.size)
	if err != nil {
		return nil, unfit("derive key: %w", err)
	}
	return &contentKey{secret: key}, nil
}

// parties are the fields of the header, in the encoding they have there, completed by what the reader knows.
func (h *header) parties(o *Options) ([parties][]byte, error) {
	out := h.party
	known := [parties][]byte{
		o.PartyU.Identity, o.PartyU.Nonce, o.PartyU.Other, o.PartyV.Identity, o.PartyV.Nonce, o.PartyV.Other,
	}
	for i, value := range known {
		if value == nil {
			continue
		}
		encoded := appendBytes(nil, value)
		if out[i] != nil && !bytes.Equal(out[i], encoded) {
			return out, unfit("the message names another party")
		}
		out[i] = encoded
	}
	return out, nil
}

// kdfContext encodes COSE_KDF_Context.
func (h *header) kdfContext(want need, party [parties][]byte, o *Options) []byte {
	size := 4
	if o.PrivateInfo != nil {
		size++
	}
	out := appendHead(make([]byte, 0, 128), majorArray, uint64(size))
	out = appendInteger(out, int64(want.alg))
	for i, field := range party {
		if i%3 == 0 {
			out = appendHead(out, majorArray, 3)
		}
		if field == nil {
			field = []byte{null}
		}
		out = append(out, field...)
	}
	public := 2
	if o.PublicInfo != nil {
		public++
	}
	out = appendHead(out, majorArray, uint64(public))
	out = appendInteger(out, int64(8*want.size))
	out = appendBytes(out, h.protected)
	if o.PublicInfo != nil {
		out = appendBytes(out, o.PublicInfo)
	}
	if o.PrivateInfo != nil {
		out = appendBytes(out, o.PrivateInfo)
	}
	return out
}

func appendInteger(dst []byte, n int64) []byte {
	if n < 0 {
		return appendHead(dst, majorNegative, uint64(-1-n))
	}
	return appendHead(dst, majorUint, uint64(n))
}

// agree derives a key from the ephemeral key of the header and the private key that find returns (RFC 9053 §6.3).
func (h *header) agree(find FindKey, want need, o *Options) (*contentKey, error) {
	if h.ephemeral == nil {
		return nil, malformed("%v without ephemeral key", h.alg)
	}
	ephemeral, err := ParseKey(h.ephemeral)
	if err != nil {
		return nil, err
	}
	if err := ephemeral.permits(h.alg, OperationDeriveKey, OperationDeriveBits); err != nil {
		return nil, malformed("ephemeral key: %w", err)
	}
	public, err := ephemeral.ECDH()
	if err != nil {
		return nil, malformed("the ephemeral key is not for key agreement")
	}
	key, err := findFor(h, find, h.alg, OperationDeriveKey, OperationDeriveBits)
	if err != nil {
		return nil, err
	}
	private, err := key.ecdhPrivate()
	if err != nil {
		return nil, err
	}
	if private.Curve() != public.Curve() {
		return nil, unfit("the ephemeral key is on %v", ephemeral.curve)
	}
	secret, err := private.ECDH(public)
	if err != nil {
		return nil, malformed("ephemeral key of low order") // RFC 7748 §6.1
	}
	return h.derive(secret, want, o)
}

// newEphemeral draws a private key from rand, which crypto/ecdh's own generator would not read.
func newEphemeral(curve ecdh.Curve, rand io.Reader) (*ecdh.PrivateKey, error) {
	size := p256Size
	if curve == ecdh.P384() {
		size = p384Size
	}
	for range 8 { // a random scalar is out of range once in 2^32
		scalar, err := draw(size, rand)
		if err != nil {
			return nil, err
		}
		if key, err := curve.NewPrivateKey(scalar); err == nil {
			return key, nil
		}
	}
	return nil, unfit("no scalar in range")
}

// encodeEphemeral gives the COSE_Key of a public key without any other parameter; y is compressed.
func encodeEphemeral(public *ecdh.PublicKey) (wire.RawMessage, error) {
	key, err := NewKey(public, KeyOptions{})
	if err != nil {
		return nil, err
	}
	return key.Compressed().Encode()
}
