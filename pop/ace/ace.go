// Package ace is the vocabulary of ACE-OAuth (RFC 9200, RFC 9201, RFC 9203): token requests and responses, errors,
// introspection, the upload to /authz-info, creation hints and the registration of a device, each from and to its bytes.
//
// A token request reads the same from CBOR, JSON and a form; every message is bounded (limits.go) and decoded
// strictly. The package decides nothing and opens no socket. Start from TokenRequest.
package ace

import "github.com/plgd-dev/go-coap/v3/message"

// CoAP Content-Formats (IANA CoRE Parameters).
const (
	FormatOctets         message.MediaType = 42  // application/octet-stream
	FormatLinks          message.MediaType = 40  // application/link-format
	FormatACE            message.MediaType = 19  // application/ace+cbor
	FormatCBOR           message.MediaType = 60  // application/cbor
	FormatCOSEKeySet     message.MediaType = 102 // application/cose-key-set (RFC 9052 §11.4)
	FormatCWT            message.MediaType = 61  // application/cwt
	FormatProblemDetails message.MediaType = 257 // application/concise-problem-details+cbor (RFC 9290)
	FormatTRL            message.MediaType = 262 // application/ace-trl+cbor (RFC 9770)
)

// Media types of the same formats over HTTP (RFC 9200 §8.16, RFC 9431 §6, RFC 6749 appendix B).
const (
	MediaTypeCBOR          = "application/ace+cbor"
	MediaTypeACE           = "application/ace+json"
	MediaTypeJSON          = "application/json"
	MediaTypeForm          = "application/x-www-form-urlencoded"
	MediaTypeIntrospection = "application/token-introspection+jwt" // RFC 9701 §8.2
)

// Default paths (RFC 9200 §5.8, §5.10.1) and ours (D22).
const (
	PathToken      = "/token"
	PathIntrospect = "/introspect"
	PathAuthzInfo  = "/authz-info"
	PathRegister   = "/register"
	PathKeys       = "/keys"
	PathTRL        = "/revoke/trl" // an example in RFC 9770 §5; ours is told by /register
)

// ResourceType is the rt of /authz-info in /.well-known/core (RFC 9200 §8.10).
const ResourceType = "ace.ai"
