package oscore

import (
	"fmt"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// outerOnly are the options of class U and not E (RFC 8613 §4.1, figure 5). Everything else, known or not, is class E:
// protected on the way out, and discarded from the outside on the way in.
var outerOnly = map[message.OptionID]bool{
	message.URIHost:     true,
	message.URIPort:     true,
	OptionOSCORE:        true,
	message.ProxyURI:    true,
	message.ProxyScheme: true,
}

// split parts the options of a message to be protected. Without class U options inner is options itself.
func split(options message.Options) (inner, outer message.Options, err error) {
	count := 0
	previous := message.OptionID(0)
	for i := range options {
		id := options[i].ID
		switch {
		case id < previous:
			return nil, nil, fmt.Errorf("%w: options out of order", ErrUnprotectable)
		case id == OptionOSCORE:
			return nil, nil, fmt.Errorf("%w: it is protected already", ErrUnprotectable)
		case id == message.ProxyURI:
			// RFC 8613 §4.1.3.3 wants it taken apart, because it shows path and query to everyone.
			return nil, nil, fmt.Errorf("%w: Proxy-Uri shows the path", ErrUnprotectable)
		case outerOnly[id]:
			count++
		}
		previous = id
	}
	if count == 0 {
		return options, nil, nil
	}
	inner = make(message.Options, 0, len(options)-count)
	outer = make(message.Options, 0, count+1)
	for _, o := range options {
		if outerOnly[o.ID] {
			outer = append(outer, o)
		} else {
			inner = append(inner, o)
		}
	}
	return inner, outer, nil
}

// mark adds the OSCORE option to the outer options.
func mark(outer message.Options, value []byte) message.Options {
	at := len(outer)
	for i := range outer {
		if outer[i].ID > OptionOSCORE {
			at = i
			break
		}
	}
	outer = append(outer, message.Option{})
	copy(outer[at+1:], outer[at:])
	outer[at] = message.Option{ID: OptionOSCORE, Value: value}
	return outer
}

// merge puts the class U options of the received message among the decrypted ones (RFC 8613 §8.2 step 7). What the
// sender protected wins over what anyone could have written outside.
func merge(inner, outer message.Options) (message.Options, error) {
	for i := range inner {
		if inner[i].ID == OptionOSCORE {
			return nil, fmt.Errorf("%w: nested protection", ErrInner)
		}
	}
	for _, o := range outer {
		if outerOnly[o.ID] && o.ID != OptionOSCORE && !inner.HasOption(o.ID) {
			inner = inner.Add(o)
		}
	}
	return inner, nil
}

func isRequest(c codes.Code) bool { return c >= 1 && c < 32 }

func isResponse(c codes.Code) bool {
	class := c >> 5
	return c < 256 && (class == 2 || class == 4 || class == 5)
}
