package coapapi

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/resource"
)

var (
	errUnknownKey = errors.New("no session has this key id")
	errBusy       = errors.New("too many uploads")
)

// Keys are the keys of DTLS handshakes (RFC 9202 §3.3.1), as a dtls.Server wants them; the session of a key is a
// *resource.Session. It is safe for concurrent use.
type Keys struct{ api *API }

// Keys gives the device's keys.
func (a *API) Keys() *Keys { return &Keys{a} }

// Find finds the key that a psk_identity names: by the kid of a token that was uploaded before, or with the token itself,
// which is then an upload like any other and as limited.
func (k *Keys) Find(identity []byte, peer netip.AddrPort) (key []byte, session any, err error) {
	key, session, err = k.find(identity, peer.String())
	if err != nil {
		k.api.refused(peer.String(), err)
		return nil, nil, err
	}
	return key, session, nil
}

func (k *Keys) find(identity []byte, address string) ([]byte, *resource.Session, error) {
	id, err := ace.ParsePSKIdentity(identity)
	if err != nil {
		return nil, nil, err
	}
	if id.Token == nil {
		key, session, ok := k.api.server.PSK(id.KeyID)
		if !ok {
			return nil, nil, errUnknownKey
		}
		return key, session, nil
	}
	if !k.api.rate.allow(address) || !k.api.rate.allowUpload() {
		return nil, nil, errBusy
	}
	session, err := k.api.server.AcceptToken(context.Background(), id.Token, resource.Origin{Address: address})
	if err != nil {
		return nil, nil, err
	}
	return session.Key(), session, nil
}

// EndWith sets what ends the association of a session that is over: a dtls.Server's End. Set it before serving.
func (a *API) EndWith(end func(session any)) {
	a.server.OnEnd(func(s *resource.Session) { time.AfterFunc(EndGrace, func() { end(s) }) })
}
