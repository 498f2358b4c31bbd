// Package dtls carries CoAP over DTLS 1.2 with pre-shared keys (RFC 7252 §9.1, the PSK mode of RFC 9202), with connection
// IDs (RFC 9146) for peers that sleep longer than a NAT remembers them.
//
// Start from NewServer, which serves a coapsec.Handler and tells it whose key protects each request (Peer.Session), or
// from Dial, which gives a coapsec.Exchanger. What a psk_identity means is for Keys to say; package ace reads its two
// forms. The records and handshakes are those of pion/dtls; the messages those of coapsec.Endpoint.
//
// Not covered: raw public keys and certificates, DTLS 1.3, resumption and renegotiation, TLS over TCP.
package dtls

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/pion/dtls/v3"
)

// Keys finds keys during handshakes. Strangers can call it as often as they can send; it must be quick and is safe for
// concurrent use.
type Keys interface {
	// Find returns the key for a psk_identity of 1 to 4096 bytes, of 16 bytes at least, and a comparable value other than
	// nil that stands for it in Peer.Session and Server.End. peer has shown that it receives at its address. An error
	// ends the handshake with illegal_parameter, whatever it says (RFC 9202 §3.3.2); it goes to the log at level Debug, for
	// strangers can cause it at will.
	Find(identity []byte, peer netip.AddrPort) (key []byte, session any, err error)
}

// Options adjusts a Server or a Conn. Its zero fields are the safe defaults.
type Options struct {
	Now func() time.Time // nil: time.Now. Peer.Since and the ages of associations; handshakes run on timers
	Log *slog.Logger     // nil: slog.Default()

	// Tap sees every CoAP message in clear, direction "in" or "out", with the current address of the peer. It must not keep
	// or change it, and may be called concurrently.
	Tap func(direction string, peer netip.AddrPort, message []byte)

	Idle          time.Duration // of an association without a message, at the server; 0: 36 h
	MaxSessions   int           // associations of a server; 0: 1024. The one idle longest makes room
	MaxHandshakes int           // under way at a server; 0: 256

	// Endpoint adjusts the message layer; its Now, Log and Tap are replaced by those above.
	Endpoint coapsec.EndpointOptions
}

// ErrLost is for an exchange whose association has ended. Its outcome is unknown: the request may have been acted upon.
var ErrLost = errors.New("dtls association lost, outcome unknown")

var (
	errIdentity = errors.New("psk identity of no or more than 4096 bytes")
	errKey      = errors.New("psk shorter than 16 bytes")
	errSession  = errors.New("psk without a comparable session")
	errEnded    = errors.New("dtls association has ended")
)

func (o *Options) setDefaults() {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Idle <= 0 {
		o.Idle = defaultIdle
	}
	if o.MaxSessions <= 0 {
		o.MaxSessions = defaultMaxSessions
	}
	if o.MaxHandshakes <= 0 {
		o.MaxHandshakes = defaultMaxHandshakes
	}
	o.Endpoint.Now, o.Endpoint.Log, o.Endpoint.Tap = o.Now, o.Log, nil
}

// suites are what RFC 9202 §3.3 makes mandatory, and its sibling with the longer tag.
func suites() dtls.Option {
	return dtls.WithCipherSuites(dtls.TLS_PSK_WITH_AES_128_CCM_8, dtls.TLS_PSK_WITH_AES_128_CCM)
}

// wireAddr is a net.Addr that compares by value.
type wireAddr netip.AddrPort

func (wireAddr) Network() string  { return "udp" }
func (a wireAddr) String() string { return netip.AddrPort(a).String() }

// addrPort gives a peer one form, whatever kind of socket received its datagram. It is the zero value for what is no IP
// address.
func addrPort(a net.Addr) netip.AddrPort {
	var from netip.AddrPort
	switch a := a.(type) {
	case wireAddr:
		from = netip.AddrPort(a)
	case *net.UDPAddr:
		from = a.AddrPort()
	}
	return netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}
