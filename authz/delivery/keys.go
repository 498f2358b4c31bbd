package delivery

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// pskSize is the length of a device's pre-shared key, and of the one for an identity that nobody has.
const pskSize = 16

// Session is whose pre-shared key protects a DTLS association. The zero value is nobody's.
type Session struct {
	Device provision.DeviceID
	Client string
}

// Peer is who holds the session, nil for nobody.
func (s Session) Peer() *Peer {
	if s == (Session{}) {
		return nil
	}
	return &Peer{Device: s.Device, Client: s.Client}
}

// Keys is the key table of a DTLS server (coapsec/dtls.Keys): clients are named by the psk_identity they were registered with,
// devices by their Sender ID. It is safe for concurrent use.
type Keys struct {
	engine *Engine
	secret [sha256.Size]byte
}

// NewKeys makes the table of an engine's peers; the error is that of the engine's randomness.
func NewKeys(e *Engine) (*Keys, error) {
	k := &Keys{engine: e}
	if _, err := io.ReadFull(e.rand, k.secret[:]); err != nil {
		return nil, fmt.Errorf("dtls keys: %w", err)
	}
	return k, nil
}

// Find returns the key for a psk_identity and its Session. An identity that nobody has gets a key that nobody has, always the
// same: its handshake ends like one with a wrong key, so that identities cannot be found by trying (RFC 4279 §2).
func (k *Keys) Find(identity []byte, _ netip.AddrPort) (key []byte, session any, err error) {
	key, held := k.unknown(identity), Session{}
	ctx, cancel := context.WithTimeout(context.Background(), lookupTime)
	defer cancel()
	found, err := k.engine.store.Peer(ctx, identity)
	switch {
	case errors.Is(err, authz.ErrNotFound):
		return key, held, nil
	case err != nil:
		k.engine.log.Error("look up psk identity", "err", err)
		return nil, nil, err
	}
	known, session, err := pskOf(found)
	if err != nil {
		k.engine.log.Error("pre-shared key", "err", err)
		return nil, nil, err
	}
	if known == nil {
		return key, held, nil
	}
	return known, session, nil
}

func (k *Keys) unknown(identity []byte) []byte {
	mac := hmac.New(sha256.New, k.secret[:])
	mac.Write(identity)
	return mac.Sum(nil)[:pskSize]
}

// pskOf is a peer's pre-shared key, nil for a client that has OSCORE material instead: one key serves one protocol (D2).
func pskOf(p authz.Peer) (key []byte, session Session, err error) {
	if d := p.Device; d != nil {
		key, err = provision.DeriveKey(d.RootKey, provision.PurposeServerPSK, d.ID, provision.FirstKeyID, pskSize)
		return key, Session{Device: d.ID}, err
	}
	if p.Client.AuthMethod != authz.AuthDTLS {
		return nil, Session{}, nil
	}
	return p.Client.Channel.MasterSecret, Session{Client: p.Client.ID}, nil
}
