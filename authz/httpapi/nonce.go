package httpapi

import (
	"crypto/hmac"
	"crypto/rand"
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
	nonceLife  = (nonceSlots + 1) * nonceSlot
	macSize    = 16             // bytes
	nonceSize  = 4 + macSize    // bytes: the slot, and what shows that this server has given it out
	uniqueSize = nonceSize + 16 // of one that is good once: something at random stands behind the slot
)

// nonces are what a DPoP proof shows to be fresh (RFC 9449 §8): the number of a minute and its MAC, so that nothing has to be
// remembered. All nodes share the key, and each knows those of the others (docs/adr/0040).
type nonces struct{ key [sha256.Size]byte }

// newNonces derives the key from the store's. The refresh token that it starts from is of no family: ids are random.
func newNonces(server *authz.Server, what string) (n nonces) {
	n.key = sha256.Sum256(append([]byte("latchkey "+what+" "), server.Store().RefreshSecret(authz.FamilyID{}, 0)...))
	return n
}

// at is the nonce of a moment.
func (n *nonces) at(now time.Time) string { return n.slot(slotOf(now)) }

func slotOf(now time.Time) uint32 { return uint32(now.Unix() / int64(nonceSlot/time.Second)) }

func (n *nonces) slot(slot uint32) string {
	return base64.RawURLEncoding.EncodeToString(n.sealed(binary.BigEndian.AppendUint32(nil, slot)))
}

// unique is a nonce of a moment that no other request gets: whoever takes it can spend it.
func (n *nonces) unique(now time.Time) string {
	out := make([]byte, uniqueSize-macSize, uniqueSize)
	binary.BigEndian.PutUint32(out, slotOf(now))
	_, _ = rand.Read(out[4:]) // never fails
	return base64.RawURLEncoding.EncodeToString(n.sealed(out))
}

// sealed is what was given out with what shows that this server did.
func (n *nonces) sealed(given []byte) []byte {
	mac := hmac.New(sha256.New, n.key[:])
	_, _ = mac.Write(given) // never fails
	return append(given[:len(given):len(given)], mac.Sum(nil)[:macSize]...)
}

// good reports whether a nonce was given out within the last slots. That of the next one comes from a node whose clock is ahead.
func (n *nonces) good(nonce string, now time.Time) bool {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(nonce)
	if err != nil || len(raw) != nonceSize && len(raw) != uniqueSize {
		return false
	}
	slot, current := binary.BigEndian.Uint32(raw), slotOf(now)
	if slot > current+1 || slot+nonceSlots <= current {
		return false
	}
	return hmac.Equal(raw, n.sealed(raw[:len(raw)-macSize]))
}
