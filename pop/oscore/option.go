package oscore

import (
	"fmt"

	"github.com/plgd-dev/go-coap/v3/message"
)

// OptionOSCORE is the number of the CoAP option that marks a protected message (RFC 8613 §2).
const OptionOSCORE message.OptionID = 9

// Flag bits of the option's first byte (RFC 8613 §6.1). The upper three are reserved.
const (
	maskPartialIV  = 0x07
	flagKID        = 0x08
	flagKIDContext = 0x10
	maskReserved   = 0xe0
)

// Option is the value of the OSCORE option. A nil PartialIV means that there is none; kid and kid context may be present
// and empty.
type Option struct {
	PartialIV     []byte
	KID           []byte
	KIDContext    []byte
	HasKID        bool
	HasKIDContext bool
}

// ParseOption decodes v; the result refers to v. It refuses reserved flags and lengths, a Partial IV with leading zeros,
// bytes that belong to no field and a value that should be empty, all as ErrDecode.
func ParseOption(v []byte) (Option, error) {
	if len(v) == 0 {
		return Option{}, nil
	}
	flags, rest := v[0], v[1:]
	if flags&maskReserved != 0 || flags == 0 {
		return Option{}, fmt.Errorf("%w: flags %#02x", ErrDecode, flags)
	}
	o := Option{HasKID: flags&flagKID != 0, HasKIDContext: flags&flagKIDContext != 0}
	if n := int(flags & maskPartialIV); n > 0 {
		if n > MaxPartialIV || len(rest) < n {
			return Option{}, fmt.Errorf("%w: partial iv of %d bytes", ErrDecode, n)
		}
		o.PartialIV, rest = rest[:n:n], rest[n:]
		if n > 1 && o.PartialIV[0] == 0 {
			return Option{}, fmt.Errorf("%w: partial iv with a leading zero", ErrDecode)
		}
	}
	if o.HasKIDContext {
		if len(rest) == 0 || len(rest)-1 < int(rest[0]) {
			return Option{}, fmt.Errorf("%w: kid context cut off", ErrDecode)
		}
		n := int(rest[0])
		o.KIDContext, rest = rest[1:1+n:1+n], rest[1+n:]
	}
	if o.HasKID {
		o.KID, rest = rest, nil
	}
	if len(rest) > 0 {
		return Option{}, fmt.Errorf("%w: %d bytes after the last field", ErrDecode, len(rest))
	}
	return o, nil
}

// Encode gives the option's value, empty when no field is present. The fields must obey the bounds that ParseOption
// checks.
func (o Option) Encode() []byte { return o.append(nil) }

func (o Option) append(dst []byte) []byte {
	flags := byte(len(o.PartialIV))
	if o.HasKID {
		flags |= flagKID
	}
	if o.HasKIDContext {
		flags |= flagKIDContext
	}
	if flags == 0 {
		return dst
	}
	dst = append(append(dst, flags), o.PartialIV...)
	if o.HasKIDContext {
		dst = append(append(dst, byte(len(o.KIDContext))), o.KIDContext...)
	}
	if o.HasKID {
		dst = append(dst, o.KID...)
	}
	return dst
}

func (o Option) size() int {
	return 2 + len(o.PartialIV) + len(o.KIDContext) + len(o.KID)
}

// FindOption returns the OSCORE option of a message, and false if there is none. Two are malformed, as is one on a message
// without payload (RFC 8613 §2).
func FindOption(m message.Message) (Option, bool, error) {
	found := -1
	for i := range m.Options {
		if m.Options[i].ID != OptionOSCORE {
			continue
		}
		if found >= 0 {
			return Option{}, true, fmt.Errorf("%w: option occurs twice", ErrDecode)
		}
		found = i
	}
	if found < 0 {
		return Option{}, false, nil
	}
	if len(m.Payload) == 0 {
		return Option{}, true, fmt.Errorf("%w: no payload", ErrDecode)
	}
	o, err := ParseOption(m.Options[found].Value)
	return o, true, err
}
