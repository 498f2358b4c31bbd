// Package origin tells where an HTTP request comes from: its address, and the certificate of its sender's TLS. Between them
// and the server may stand proxies, which say both in headers; only those that the operator declares are believed, for
// anybody can write a header.
//
// It verifies no certificate: a client certificate is a key until somebody compares it (RFC 8705). Start from Handler.
package origin

import (
	"context"
	"crypto/x509"
	"net/http"
	"net/netip"
	"slices"
)

// Origin is what is known of a request's sender.
type Origin struct {
	Address netip.Addr // without zone, IPv4 never as IPv6; invalid for requests over a unix socket
	// Certificate is the leaf that the sender has shown, holding its private key; nil if none. Its names, issuer and times
	// are not verified. Intermediates came with it; none do in a proxy's header.
	Certificate   *x509.Certificate
	Intermediates []*x509.Certificate
}

// Trust says whom to believe. The zero value believes no header.
type Trust struct {
	Proxies    []netip.Prefix // believed about X-Forwarded-For and Forwarded (RFC 7239)
	Only       bool           // requests that do not come from Proxies are refused with 403
	CertHeader string         // in which Proxies put the client's certificate, as RFC 9440 or as PEM in percent-encoding; "" none
}

type key struct{}

// From is the origin of the request that ctx belongs to; zero without Handler.
func From(ctx context.Context) Origin {
	o, _ := ctx.Value(key{}).(Origin)
	return o
}

// Handler makes From work for the requests that next serves.
func Handler(next http.Handler, t Trust) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer := plain(r.RemoteAddr)
		proxied := t.believes(peer)
		if t.Only && !proxied {
			http.Error(w, "this server is reached through its proxy", http.StatusForbidden)
			return
		}
		o := Origin{Address: peer}
		switch {
		case proxied: // the certificate of this connection is the proxy's own
			o.Address, o.Certificate = t.sender(peer, r.Header), t.certificate(r.Header)
		case r.TLS != nil && len(r.TLS.PeerCertificates) > 0:
			o.Certificate, o.Intermediates = r.TLS.PeerCertificates[0], r.TLS.PeerCertificates[1:]
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key{}, o)))
	})
}

func (t Trust) believes(a netip.Addr) bool {
	return slices.ContainsFunc(t.Proxies, func(p netip.Prefix) bool { return p.Contains(a) })
}

// sender goes back from hop to hop, the nearest first, as long as the one who told is believed. It ends at the first that
// is not, and where something unreadable stands, at the proxy that wrote it. A proxy that writes one of the headers may
// pass the other on as the client wrote it, so two that disagree tell nothing.
func (t Trust) sender(peer netip.Addr, h http.Header) netip.Addr {
	usual, standard := elements(h.Values("X-Forwarded-For")), forwarded(h.Values("Forwarded"))
	switch {
	case len(standard) == 0:
		return t.walk(peer, usual)
	case len(usual) == 0:
		return t.walk(peer, standard)
	}
	if a := t.walk(peer, usual); a == t.walk(peer, standard) {
		return a
	}
	return peer
}

func (t Trust) walk(peer netip.Addr, hops []string) netip.Addr {
	at := peer
	for i, hop := range slices.Backward(hops) {
		a := plain(hop)
		if !a.IsValid() || i < len(hops)-maxHops {
			return at
		}
		if at = a; !t.believes(a) {
			return a
		}
	}
	return at
}
