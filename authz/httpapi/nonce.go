package httpapi

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
)

// Bounds of nonces.
const (
	nonceSlot  = time.Minute
	nonceSlots = 5 // how many slots a nonce is good for: a client may use one for several requests (RFC 9449 §8.2)
	// nonceLife is how long one may be good, counted from when it was given out, by the clock of a node one slot behind.
	nonceLife = (nonceSlots + 1) * nonceSlot
	nonceSize = 4 + 16 // bytes: the slot, and what shows that this server has given it out
)

// nonces are what a DPoP proof shows to be fresh (RFC 9449 §8): the number of a minute and its MAC, so that nothing has to be
// remembered. All nodes share the key, and each knows those of the others (docs/adr/0040).
type nonces struct{ key [sha256.Size]byte }

// newNonces derives the key from the store's. The refresh token that it starts from is of no family: ids are random.
func newNonces(server *authz.Server) (n nonces) {
	n.key = sha256.Sum256(append([]byte("latchkey DPoP nonce "), server.Store().RefreshSecret(authz.FamilyID{}, 0)...))
	return n
}

// at is the nonce of a moment.
func (n *nonces) at(now time.Time) string { return n.slot(slotOf(now)) }

func slotOf(now time.Time) uint32 { return uint32(now.Unix() / int64(nonceSlot/time.Second)) }

func (n *nonces) slot(slot uint32) string {
	out := binary.BigEndian.AppendUint32(nil, slot)
	mac := hmac.New(sha256.New, n.key[:])
	_, _ = mac.Write(out) // never fails
	return base64.RawURLEncoding.EncodeToString(mac.Sum(out)[:nonceSize])
}

// good reports whether a nonce was given out within the last slots. That of the next one comes from a node whose clock is ahead.
func (n *nonces) good(nonce string, now time.Time) bool {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(nonce)
	if err != nil || len(raw) != nonceSize {
		return false
	}
	slot, current := binary.BigEndian.Uint32(raw), slotOf(now)
	if slot > current+1 || slot+nonceSlots <= current {
		return false
	}
	return hmac.Equal([]byte(nonce), []byte(n.slot(slot)))
}
