package main

import (
	"log/slog"
	"net"

	"github.com/latchkey-ace/latchkey/authz/delivery"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/coapsec/dtls"
)

// overDTLS serves those who speak DTLS instead of OSCORE: the same face behind another lock. Without a conn there is no such
// server.
func overDTLS(conn net.PacketConn, face coapsec.Handler, engine *delivery.Engine, log *slog.Logger) (*dtls.Server, error) {
	if conn == nil {
		return nil, nil
	}
	keys, err := delivery.NewKeys(engine)
	if err != nil {
		return nil, err
	}
	return dtls.NewServer(conn, keys, face, dtls.Options{Log: log}), nil
}
