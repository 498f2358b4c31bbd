package oscore

import (
	"fmt"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// outerOnly says whether an option is of class U and not E (RFC 8613 §4.1, figure 5). Everything else, known or not, is
// class E: protected on the way out, and discarded from the outside on the way in. Of those that are both, Observe is set
// outside by split; Max-Age, No-Response and the Block options are not, for lack of need or because they are a proxy's.
func outerOnly(id message.OptionID) bool {
	switch id {
	case message.URIHost, message.URIPort, OptionOSCORE, message.ProxyURI, message.ProxyScheme:
		return true
	}
	return false
}

// What becomes of the Observe option of a message to be protected.
type observeRule int

const (
	observeAsked    observeRule = iota // request: the same inside and outside (RFC 8613 §4.1.3.5.1)
	observeNotified                    // notification: empty inside (§4.1.3.5.2)
	observeDropped
)

// split parts the options of a message to be protected into b.sealed and b.result. It returns the Observe option among the
// former, if there is one.
func (b *Buffer) split(options message.Options, rule observeRule) (observe *message.Option, err error) {
	special, err := survey(options)
	if err != nil {
		return nil, err
	}
	outer := b.options()
	if !special {
		b.sealed, b.result = options, outer
		return nil, nil
	}
	sealed := b.parted[:0]
	for _, o := range options {
		switch {
		case outerOnly(o.ID):
			outer = append(outer, o)
			continue
		case o.ID == message.Observe && rule == observeDropped:
			continue
		case o.ID == message.Observe:
			outer = append(outer, o)
			if rule == observeNotified {
				o.Value = nil
			}
		}
		sealed = append(sealed, o)
	}
	b.parted, b.sealed, b.result = sealed, sealed, outer
	return observeOf(sealed), nil
}

// survey says whether options are more than inner ones.
func survey(options message.Options) (special bool, err error) {
	previous := message.OptionID(0)
	for i := range options {
		id := options[i].ID
		switch {
		case id < previous:
			return false, fmt.Errorf("%w: options out of order", ErrUnprotectable)
		case id == OptionOSCORE:
			return false, fmt.Errorf("%w: it is protected already", ErrUnprotectable)
		case id == message.ProxyURI:
			// RFC 8613 §4.1.3.3 wants it taken apart, because it shows path and query to everyone.
			return false, fmt.Errorf("%w: Proxy-Uri shows the path", ErrUnprotectable)
		case id == message.Observe || outerOnly(id):
			special = true
		}
		previous = id
	}
	return special, nil
}

// insert adds an option behind those of its number and below.
func insert(options message.Options, o message.Option) message.Options {
	options = append(options, o)
	at := len(options) - 1
	for ; at > 0 && options[at-1].ID > o.ID; at-- {
		options[at] = options[at-1]
	}
	options[at] = o
	return options
}

// merge puts the class U options of the received message among the decrypted ones (RFC 8613 §8.2 step 7). What the
// sender protected wins over what anyone could have written outside.
func (b *Buffer) merge(outer message.Options) error {
	for i := range b.result {
		if b.result[i].ID == OptionOSCORE {
			return fmt.Errorf("%w: nested protection", ErrInner)
		}
	}
	for _, o := range outer {
		if outerOnly(o.ID) && o.ID != OptionOSCORE && !b.result.HasOption(o.ID) {
			b.result = insert(b.result, o)
		}
	}
	return nil
}

func observeOf(options message.Options) *message.Option {
	for i := range options {
		if options[i].ID == message.Observe {
			return &options[i]
		}
	}
	return nil
}

// registers says whether the option is Observe 0 (RFC 7641 §2).
func registers(observe *message.Option) bool {
	if observe == nil {
		return false
	}
	for _, b := range observe.Value {
		if b != 0 {
			return false
		}
	}
	return true
}

// codeFETCH is FETCH (RFC 8132 §4).
const codeFETCH codes.Code = 5

func isRequest(c codes.Code) bool { return c >= 1 && c < 32 }

func isResponse(c codes.Code) bool {
	class := c >> 5
	return c < 256 && (class == 2 || class == 4 || class == 5)
}
