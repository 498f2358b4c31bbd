package coapsec

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// Reachability finds out whether a peer is at the address that its requests say, so that nobody can make a server send long
// answers to someone else (RFC 9175 §2.4, item 3, and §2.6). It remembers nothing of any peer: an Echo is a MAC over the
// address and the minute. Its Verify method is made for EndpointOptions.Verify. It is safe for concurrent use.
type Reachability struct {
	now   func() time.Time
	began time.Time // what minutes count from, so that setting the clock makes none come again
	key   []byte
}

// NewReachability makes one with a key of its own, so that what was proven before a restart is proven anew. Nil arguments
// stand for the system's time and randomness; the error is that of random.
func NewReachability(now func() time.Time, random io.Reader) (*Reachability, error) {
	if now == nil {
		now = time.Now
	}
	if random == nil {
		random = rand.Reader
	}
	r := &Reachability{now: now, began: now(), key: make([]byte, sha256.Size)}
	if _, err := io.ReadFull(random, r.key); err != nil {
		return nil, fmt.Errorf("reachability: make key: %w", err)
	}
	return r, nil
}

// Verify says whether the request carries an Echo made for its address at most two minutes ago, at least one; it counts as
// often as it comes. Else challenge is the 4.01 with one, which is at most three times as long as any request.
//
// It must be asked after the handler has answered. Where that has acted, a 4.01 would be a lie and make the client repeat it:
// to a request that is neither GET nor FETCH nor for a later block of an answer, challenge has no code, and the answer is to
// be cut down.
func (r *Reachability) Verify(request *Request) (verified bool, challenge message.Message) {
	if request.Peer.Session != nil {
		return true, message.Message{} // a handshake went there and back
	}
	window := uint64(max(0, r.now().Sub(r.began)) / reachabilityWindow)
	now := r.mac(request.Peer.Address, window)
	if echo := echoOf(request.Message); echo != nil {
		before := now
		if window > 0 {
			before = r.mac(request.Peer.Address, window-1)
		}
		if hmac.Equal(echo, now) || hmac.Equal(echo, before) {
			return true, message.Message{}
		}
	}
	if !repeatable(request) {
		return false, message.Message{}
	}
	return false, message.Message{Code: codes.Unauthorized, Options: message.Options{{ID: OptionEcho, Value: now}}}
}

func (r *Reachability) mac(address string, window uint64) []byte {
	h := hmac.New(sha256.New, r.key)
	h.Write(binary.BigEndian.AppendUint64(nil, window))
	h.Write([]byte(address))
	return h.Sum(nil)[:reachabilityEcho]
}

// repeatable says whether answering the request changed nothing. A later block of an answer is given out without asking the
// handler again, see Blockwise.
func repeatable(request *Request) bool {
	if request.Code == codes.GET || request.Code == fetch {
		return true
	}
	return wantsLaterBlock(request.Message)
}
