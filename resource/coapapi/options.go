package coapapi

import (
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// Options that go-coap's table has under no name we need, or not at all.
const (
	uriHost     message.OptionID = 3
	uriPort     message.OptionID = 7
	proxyURI    message.OptionID = 35
	proxyScheme message.OptionID = 39
)

// understood are the critical options that change nothing here or that are read (RFC 7252 §5.10). Block1 and Block2 are
// not among them: coapsec.Blockwise takes them away, and what it leaves would be half a request.
var understood = map[message.OptionID]bool{
	uriHost: true, uriPort: true, message.URIPath: true, message.URIQuery: true, message.Accept: true,
}

// once are those of them that may stand once only; a second one is as good as unknown (RFC 7252 §5.4.5).
var once = map[message.OptionID]bool{uriHost: true, uriPort: true, message.Accept: true}

// refuseOptions gives the code that answers a request with a critical option we do not understand, 0 if there is none. What
// such an option means is not known, so the rest of the request is not either.
func refuseOptions(options message.Options) codes.Code {
	seen := make(map[message.OptionID]bool)
	for _, o := range options {
		critical := o.ID&1 == 1
		switch {
		case o.ID == proxyURI || o.ID == proxyScheme:
			return codes.ProxyingNotSupported
		case critical && !understood[o.ID], once[o.ID] && seen[o.ID]:
			return codes.BadOption
		}
		seen[o.ID] = true
	}
	return codes.Empty
}

// target is the path with the query, as a right would name it (RFC 9237 §2).
func target(path string, options message.Options) string {
	separator := "?"
	for _, o := range options {
		if o.ID == message.URIQuery {
			path += separator + string(o.Value)
			separator = "&"
		}
	}
	return path
}
