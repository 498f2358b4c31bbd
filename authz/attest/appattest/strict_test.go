package appattest_test

import (
	"bytes"
	"crypto/elliptic"
	"errors"
	"slices"
	"testing"

	"github.com/latchkey-ace/latchkey/authz/attest/appattest"
)

// small is an attestation with a short receipt, on a curve that is quick.
func small(t testing.TB) (a *apple, e *attestation, object []byte) {
	a, e = newAppleOn(t, elliptic.P256()), genuine(t)
	e.Receipt = []byte("a receipt, opaque")
	return a, e, e.object(t, a)
}

func TestTruncatedAttestation(t *testing.T) {
	a, e, object := small(t)
	v := a.verifier()
	for n := range object {
		if _, err := v.Attest(object[:n], e.CredentialID, clientData, now); !errors.Is(err, appattest.ErrMalformed) {
			t.Fatalf("%d of %d bytes: got %v, want %v", n, len(object), err, appattest.ErrMalformed)
		}
	}
}

// TestFlippedAttestation: every bit counts but those of the receipt, which no signature covers and nothing is read from.
func TestFlippedAttestation(t *testing.T) {
	a, e, object := small(t)
	v := a.verifier()
	from := bytes.Index(object, e.Receipt)
	to := from + len(e.Receipt)
	for i := range len(object) * 8 {
		flipped := bytes.Clone(object)
		flipped[i/8] ^= 1 << (i % 8)
		k, err := v.Attest(flipped, e.CredentialID, clientData, now)
		switch inReceipt := i/8 >= from && i/8 < to; {
		case inReceipt && (err != nil || !bytes.Equal(k.ID, e.CredentialID)):
			t.Errorf("bit %d, in the receipt: got %v, %v", i, k, err)
		case !inReceipt && err == nil:
			t.Errorf("bit %d of byte %d, %#x: accepted", i%8, i/8, object[i/8])
		}
	}
}

// TestTruncatedAuthData: the authenticator data are cut, and certified so.
func TestTruncatedAuthData(t *testing.T) {
	a := newAppleOn(t, elliptic.P256())
	whole := genuine(t)
	length := len(whole.COSE) + len(whole.Extensions)
	for n := range length {
		e := genuine(t)
		if n == len(e.COSE) {
			continue // as before iOS 27
		}
		tail := slices.Concat(e.COSE, e.Extensions)[:n]
		e.COSE, e.Extensions = tail, nil
		if _, err := a.verifier().Attest(e.object(t, a), e.CredentialID, clientData, now); !errors.Is(err, appattest.ErrMalformed) {
			t.Errorf("%d of %d bytes: got %v, want %v", n, length, err, appattest.ErrMalformed)
		}
	}
}

func TestTruncatedAssertion(t *testing.T) {
	v, k, key := installed(t)
	evidence := usual().sign(t, key)
	for n := range evidence {
		if _, err := v.Assert(evidence[:n], clientData, k, 7); !errors.Is(err, appattest.ErrMalformed) {
			t.Errorf("%d of %d bytes: got %v, want %v", n, len(evidence), err, appattest.ErrMalformed)
		}
	}
}

func TestFlippedAssertion(t *testing.T) {
	v, k, key := installed(t)
	evidence := usual().sign(t, key)
	for i := range len(evidence) * 8 {
		flipped := bytes.Clone(evidence)
		flipped[i/8] ^= 1 << (i % 8)
		if next, err := v.Assert(flipped, clientData, k, 7); err == nil || next != 0 {
			t.Errorf("bit %d of byte %d, %#x: accepted", i%8, i/8, evidence[i/8])
		}
	}
}

// TestStrictObject: the same content in every other spelling is refused before a certificate is read.
func TestStrictObject(t *testing.T) {
	a, e, object := small(t)
	leaf := leafOf(object)
	type member struct{ name, value []byte }
	format := member{text("fmt"), text("apple-appattest")}
	data := member{text("authData"), bstr(e.authData())}
	chain := member{text("x5c"), slices.Concat(head(4, 2), bstr(leaf.Raw), bstr(a.intermediate.Raw))}
	receipt := member{text("receipt"), bstr(e.Receipt)}
	collect := func(members ...member) []byte {
		out := head(5, len(members))
		for _, m := range members {
			out = slices.Concat(out, m.name, m.value)
		}
		return out
	}
	statement := member{text("attStmt"), collect(chain, receipt)}
	within := func(members ...member) []byte {
		return collect(format, member{text("attStmt"), collect(members...)}, data)
	}
	as := func(m member, value []byte) member { return member{m.name, value} }
	tests := []struct {
		name   string
		object []byte
	}{
		{"nothing", nil},
		{"another member", collect(format, statement, data, member{text("x"), text("y")})},
		{"a member twice", collect(format, statement, data, format)},
		{"authData twice", collect(format, data, statement, data)},
		{"no fmt", collect(statement, data)},
		{"no attStmt", collect(format, data)},
		{"no authData", collect(format, statement)},
		{"null authData", collect(format, statement, as(data, []byte{0xf6}))},
		{"null attStmt", collect(format, as(statement, []byte{0xf6}), data)},
		{"authData as text", collect(format, statement, as(data, text(string(make([]byte, 164)))))},
		{"authData as numbers", collect(format, statement, as(data, append(head(4, 16), make([]byte, 16)...)))},
		{"fmt as bytes", collect(as(format, bstr([]byte("apple-appattest"))), statement, data)},
		{"a name as bytes", collect(member{bstr([]byte("fmt")), format.value}, statement, data)},
		{"a name in capitals", collect(member{text("FMT"), format.value}, statement, data)},
		{"a number for a name", collect(member{[]byte{1}, format.value}, statement, data)},
		{"a byte after it", append(bytes.Clone(object), 0)},
		{"the object twice", slices.Concat(object, object)},
		{"a tag", slices.Concat([]byte{0xd9, 0xd9, 0xf7}, object)},
		{"a tag within", collect(format, statement, as(data, append([]byte{0xd8, 24}, data.value...)))},
		{"an indefinite map", slices.Concat([]byte{0xbf}, object[1:], []byte{0xff})},
		{"an indefinite string", collect(format, statement, as(data, slices.Concat([]byte{0x5f}, data.value, []byte{0xff})))},
		{"an array", slices.Concat(head(4, 3), format.value, statement.value, data.value)},
		{"a long claim", []byte{0xa3, 0x63, 'f', 'm', 't', 0x7a, 0xff, 0xff, 0xff, 0xff}},
		{"a longer claim", []byte{0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
		{"deep", bytes.Repeat([]byte{0x81}, 1000)},
		{"another member within", within(chain, receipt, member{text("x"), text("y")})},
		{"x5c twice", within(chain, receipt, chain)},
		{"no x5c", within(receipt)},
		{"no receipt", within(chain)},
		{"a receipt as text", within(chain, as(receipt, text("receipt")))},
		{"a receipt as numbers", within(chain, as(receipt, []byte{0x82, 1, 2}))},
		{"x5c as one certificate", within(as(chain, bstr(leaf.Raw)), receipt)},
		{"a certificate as text", within(as(chain, slices.Concat(head(4, 2), text("leaf"), bstr(a.intermediate.Raw))), receipt)},
		{"a null certificate", within(as(chain, slices.Concat(head(4, 2), bstr(leaf.Raw), []byte{0xf6})), receipt)},
		{"an indefinite x5c", within(as(chain, slices.Concat([]byte{0x9f}, bstr(leaf.Raw), bstr(a.intermediate.Raw), []byte{0xff})), receipt)},
		{"many certificates", within(as(chain, append(head(4, 1000), bytes.Repeat([]byte{0x40}, 1000)...)), receipt)},
	}
	if !bytes.Equal(collect(format, statement, data), object) {
		t.Fatal("the genuine object is built otherwise")
	}
	for _, tt := range tests {
		if _, err := a.verifier().Attest(tt.object, e.CredentialID, clientData, now); !errors.Is(err, appattest.ErrMalformed) {
			t.Errorf("%s: got %v, want %v", tt.name, err, appattest.ErrMalformed)
		}
	}
	// CBOR maps have no order.
	if _, err := a.verifier().Attest(collect(data, statement, format), e.CredentialID, clientData, now); err != nil {
		t.Errorf("another order of members: %v", err)
	}
}

func TestStrictAssertion(t *testing.T) {
	v, k, key := installed(t)
	good := usual().sign(t, key)
	split := bytes.Index(good, text("authenticatorData"))
	signature, data := good[1:split], good[split:]
	for name, evidence := range map[string][]byte{
		"nothing":                 nil,
		"an empty map":            {0xa0},
		"null":                    {0xf6},
		"another member":          slices.Concat(head(5, 3), signature, data, text("x"), text("y")),
		"a member twice":          slices.Concat(head(5, 3), signature, data, signature),
		"no signature":            slices.Concat(head(5, 1), data),
		"no authenticator data":   slices.Concat(head(5, 1), signature),
		"an empty signature":      slices.Concat(head(5, 2), text("signature"), bstr(nil), data),
		"a signature as text":     slices.Concat(head(5, 2), text("signature"), text("signature"), data),
		"a signature as numbers":  slices.Concat(head(5, 2), text("signature"), []byte{0x82, 1, 2}, data),
		"a name in capitals":      slices.Concat(head(5, 2), text("Signature"), signature[10:], data),
		"a byte after it":         append(bytes.Clone(good), 0),
		"a long signature":        slices.Concat(head(5, 2), text("signature"), bstr(make([]byte, appattest.MaxAssertion)), data),
		"a tag":                   append([]byte{0xc1}, good...),
		"an indefinite map":       slices.Concat([]byte{0xbf}, good[1:], []byte{0xff}),
		"an attestation's member": slices.Concat(head(5, 3), signature, data, text("fmt"), text("apple-appattest")),
	} {
		if _, err := v.Assert(evidence, clientData, k, 7); !errors.Is(err, appattest.ErrMalformed) {
			t.Errorf("%s: got %v, want %v", name, err, appattest.ErrMalformed)
		}
	}
	if _, err := v.Assert(slices.Concat(head(5, 2), data, signature), clientData, k, 7); err != nil {
		t.Errorf("another order of members: %v", err)
	}
}
