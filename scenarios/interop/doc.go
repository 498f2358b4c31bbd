// Package interop holds the tests in which a CoAP server of another house, libcoap's, answers our client: block-wise both
// ways and observing, over UDP and DTLS with a pre-shared key. Its client against our servers is tested where those are.
package interop
