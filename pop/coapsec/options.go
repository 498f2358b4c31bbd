package coapsec

import (
	"slices"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// Options that go-coap does not name.
const (
	optionOSCORE     message.OptionID = 9   // RFC 8613
	optionRequestTag message.OptionID = 292 // RFC 9175; Echo is in echo.go
)

// optionRule is a row of RFC 7252 table 4: how long a value may be and whether the option may be repeated.
type optionRule struct {
	shortest, longest int
	repeatable        bool
}

// optionRules holds the options whose length we know, in registry order. An option that breaks its rule is treated as
// unknown (RFC 7252 §5.4.3 and §5.4.5).
var optionRules = map[message.OptionID]optionRule{
	message.IfMatch:       {0, 8, true},
	message.URIHost:       {1, 255, false},
	message.ETag:          {1, 8, true},
	message.IfNoneMatch:   {0, 0, false},
	message.Observe:       {0, 3, false}, // RFC 7641
	message.URIPort:       {0, 2, false},
	message.LocationPath:  {0, 255, true},
	optionOSCORE:          {0, 255, false},
	message.URIPath:       {0, 255, true},
	message.ContentFormat: {0, 2, false},
	message.MaxAge:        {0, 4, false},
	message.URIQuery:      {0, 255, true},
	message.Accept:        {0, 2, false},
	message.LocationQuery: {0, 255, true},
	message.Block2:        {0, 3, false}, // RFC 7959
	message.Block1:        {0, 3, false},
	message.Size2:         {0, 4, false},
	message.ProxyURI:      {1, 1034, false},
	message.ProxyScheme:   {1, 255, false},
	message.Size1:         {0, 4, false},
	OptionEcho:            {1, maxEcho, false}, // RFC 9175
	message.NoResponse:    {0, 1, false},       // RFC 7967
	optionRequestTag:      {0, 8, true},
	OptionIntegrity:       {1, MaxIntegrity, false},
}

// criticalInRequests are the critical options that every handler understands: Blockwise takes care of 23 and 27,
// Security of 9. Conditional requests (1 and 5) are not among them: a handler that ignored one would act when told not
// to. A handler that does evaluate them is declared in EndpointOptions.Critical or SecurityOptions.Critical.
var criticalInRequests = []message.OptionID{
	message.URIHost, message.URIPort, optionOSCORE, message.URIPath, message.URIQuery, message.Accept,
	message.Block2, message.Block1,
}

var criticalInResponses = []message.OptionID{optionOSCORE, message.Block2, message.Block1}

// heed applies RFC 7252 §5.4 to a request that a handler is about to get, inside a protected message or over a transport
// that protects it, by the rules for those in the clear: the options to go on with, or the code that answers a request with
// a critical one that nobody would heed. declared are those that the handler evaluates beside criticalInRequests.
func heed(options message.Options, declared []message.OptionID) (kept message.Options, refusal codes.Code) {
	kept, unknown := siftOptions(options, criticalInRequests, declared)
	if unknown != 0 {
		return nil, refusalOf(unknown)
	}
	return kept, codes.Empty
}

// refusalOf answers a request whose critical option is unknown: 4.02, or 5.05 where it asks for a proxy (RFC 7252 §5.4.1,
// §5.10.2).
func refusalOf(unknown message.OptionID) codes.Code {
	if unknown == message.ProxyURI || unknown == message.ProxyScheme {
		return codes.ProxyingNotSupported
	}
	return codes.BadOption
}

func isCritical(id message.OptionID) bool { return id&1 == 1 }

// siftOptions applies RFC 7252 §5.4: it leaves out the elective options that must be ignored because of their length
// or repetition, and names the first critical one that is unknown or must be treated so. options must be ascending; the
// result may share its memory.
func siftOptions(options message.Options, critical ...[]message.OptionID) (_ message.Options, unknown message.OptionID) {
	var kept message.Options
	for i, o := range options {
		repeated := i > 0 && options[i-1].ID == o.ID
		ok := lawful(o, repeated)
		if isCritical(o.ID) {
			known := slices.ContainsFunc(critical, func(ids []message.OptionID) bool { return slices.Contains(ids, o.ID) })
			if !ok || !known {
				return nil, o.ID
			}
		}
		switch {
		case ok && kept != nil:
			kept = append(kept, o)
		case !ok && kept == nil:
			kept = append(make(message.Options, 0, len(options)), options[:i]...)
		}
	}
	if kept == nil {
		return options, 0
	}
	return kept, 0
}

func lawful(o message.Option, repeated bool) bool {
	rule, listed := optionRules[o.ID]
	if !listed {
		return true
	}
	return len(o.Value) >= rule.shortest && len(o.Value) <= rule.longest && (rule.repeatable || !repeated)
}

// without copies options, leaving out those numbered ids.
func without(options message.Options, ids ...message.OptionID) message.Options {
	kept := make(message.Options, 0, len(options)+1)
	for _, o := range options {
		if !slices.Contains(ids, o.ID) {
			kept = append(kept, o)
		}
	}
	return kept
}
