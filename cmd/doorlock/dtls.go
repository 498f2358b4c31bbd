package main

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"strconv"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/coapsec/dtls"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/resource/coapapi"
)

// placeDTLS says where to listen for DTLS: nowhere unless the lock was added for it.
func (o options) placeDTLS(d *provision.Device) (string, error) {
	if d.Profile != pop.ProfileCoAPDTLS {
		if o.listenDTLS != "" {
			return "", errors.New("--listen-dtls: this lock speaks coap_oscore; leave the flag out, or add the device with --profile coap_dtls")
		}
		return "", nil
	}
	if o.listenDTLS != "" {
		return o.listenDTLS, nil
	}
	host, port, err := net.SplitHostPort(o.listen)
	if err != nil {
		return "", fmt.Errorf("--listen %s: %w", o.listen, err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == math.MaxUint16 {
		return "", fmt.Errorf("--listen %s: no port follows this one; give --listen-dtls too", o.listen)
	}
	if number > 0 {
		number++ // as 5684 follows 5683 (RFC 7252 §12.7)
	}
	return net.JoinHostPort(host, strconv.FormatUint(number, 10)), nil
}

// openDTLS opens the second door for phones, which the server's channel does not use; nil for a lock of coap_oscore. Behind it
// are the same handlers, and a session that ends takes its associations with it.
func (l *lock) openDTLS(api *coapapi.API, handler coapsec.Handler) (*dtls.Server, error) {
	if l.listenDTLS == "" {
		return nil, nil
	}
	conn, err := net.ListenPacket("udp", l.listenDTLS)
	if err != nil {
		return nil, fmt.Errorf("--listen-dtls %s: %w", l.listenDTLS, err)
	}
	// A handshake that finds no key is an event of its own; what else strangers do is not worth a line.
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	server := dtls.NewServer(conn, api.Keys(), handler, dtls.Options{Now: l.clock.Now, Log: log})
	api.EndWith(server.End)
	return server, nil
}

// doors are where phones may knock: first where a lock of coap_dtls wants them.
func doors(plain *coapsec.Endpoint, secured *dtls.Server) []phoneDoor {
	all := []phoneDoor{{scheme: schemeCoAP, at: plain.LocalAddr()}}
	if secured != nil {
		all = []phoneDoor{{scheme: schemeCoAPS, under: "DTLS", at: secured.LocalAddr()}, all[0]}
	}
	return all
}
