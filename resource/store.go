package resource

import (
	"slices"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/cose"
)

// Store keeps what a device must remember across restarts and power cuts. Server calls it from one goroutine at a time.
type Store interface {
	// Load gives the state of the last Save that returned nil, or the zero State if there never was one. What cannot be
	// read whole is an error: a device that forgets what was revoked or used is worse than one that stands still.
	Load() (State, error)
	// Save replaces the whole state, atomically and durably: after nil it survives a power cut, after an error Load gives
	// either the old or the new one, never a mixture. It keeps no reference to the state's slices.
	Save(State) error
}

// State is everything a device remembers. The zero value is a device out of the box. All slices are bounded by limits.go.
type State struct {
	Time           TimeMark
	Epoch          uint64 // tokens of an earlier epoch are refused (D17)
	News           uint64 // sequence number of the newest news applied
	NewsHash       []byte // SHA-256 of it, sealed as it was
	Receipt        []byte // the answer to it, for a repetition
	HighestExpired uint64 // exi tokens up to this sequence number count as expired (RFC 9200 §5.10.3)
	NextSession    uint64
	NextEntry      uint64
	Reported       uint64 // log entries up to this number have reached the authorization server
	Sessions       []Record
	Counts         []Count
	Spent          []Spent
	Revoked        []Revoked
	Log            []Entry // ascending by Number
}

// TimeMark is what was known about the time when the state was saved.
type TimeMark struct {
	Low    time.Time     // T_low (D16): it was at least this late; zero: never learnt
	Boot   string        // the boot during which Uptime was read
	Uptime time.Duration // since that boot, sleep included
	Known  bool          // Low is not only a bound but the time, learnt live during this boot
	Boots  uint64        // boots seen so far
}

// Count is the running life of one exi token. It outlives the token's session, so that a repost continues it.
type Count struct {
	Sequence  uint64
	Grant     pop.GrantID
	ExpiresIn time.Duration
	Boot      string
	Started   time.Duration // uptime of that boot at first acceptance
}

// Spent is a used-up action of a grant (D14).
type Spent struct {
	Grant   pop.GrantID
	Path    string
	Methods aif.Methods // all with which the action changes state
	Expires time.Time   // of the token that was used; the mark is kept SpentFor longer
}

// Revoked is the hash of a token that must not be used again (RFC 9770).
type Revoked struct {
	Hash     []byte
	Sequence uint64    // of the exi token it belongs to, if it was ever seen; else 0
	Over     time.Time // when it can be forgotten; zero: not known
}

// Record is one accepted token with the security context made from it, or for coap_dtls the key of its handshakes.
type Record struct {
	Number    uint64 // never reused within a store
	Key       []byte // fingerprint of the possession key
	Hashes    [][]byte
	Sequence  uint64 // of cti
	Grant     pop.GrantRef
	Rights    aif.Rights
	Expires   time.Time
	NotBefore time.Time
	ExpiresIn time.Duration

	Profile  pop.Profile `json:",omitempty"` // 0: coap_oscore
	KeyID    []byte      `json:",omitempty"` // kid of a coap_dtls key, unique here; such a record has no nonces and ids
	Material Material
	Nonce1   []byte
	Nonce2   []byte
	ClientID []byte // ID1: the client's recipient id, our sender id
	ServerID []byte // ID2: our recipient id, the kid of its requests
	Server   bool   // uploaded by the authorization server over its channel
	Used     bool   // the client has shown possession: a request verified
	Reserved uint64 // our sender sequence numbers below this may have been used (RFC 8613 B.1.1)
}

// Material is what is kept of the OSCORE input material: the rest is the default (RFC 9203 §3.2.1).
type Material struct {
	Secret    []byte
	Salt      []byte
	Algorithm cose.Algorithm
}

// String hides the secret.
func (Material) String() string { return "[redacted]" }

// GoString hides the secret.
func (Material) GoString() string { return "[redacted]" }

// Result says what became of a decision.
type Result uint8

// Results of an Entry. Unknown is the zero value: what was begun and not seen to end may have happened.
const (
	Unknown  Result = 0
	Done     Result = 1
	Refused  Result = 2
	Accepted Result = 3
)

// String names the result.
func (r Result) String() string {
	switch r {
	case Done:
		return "done"
	case Refused:
		return "refused"
	case Accepted:
		return "accepted"
	}
	return "unknown"
}

// Entry is one line of the access log.
type Entry struct {
	Number uint64    // ascending, never reused
	Time   time.Time // zero when the device does not know the time
	Boot   uint64    // boots seen when it was written; orders entries without time
	Grant  pop.GrantID
	Action string // action name, or "accept" for a token
	Result Result
	Reason string // why it was refused; empty otherwise
}

// clone gives a State whose slices can be changed without touching s. Byte strings are shared: they are never written to.
func (s State) clone() State {
	s.Sessions = slices.Clone(s.Sessions)
	s.Counts = slices.Clone(s.Counts)
	s.Spent = slices.Clone(s.Spent)
	s.Revoked = slices.Clone(s.Revoked)
	s.Log = slices.Clone(s.Log)
	return s
}

// session finds the record with a number.
func (s *State) session(number uint64) (*Record, bool) {
	for i := range s.Sessions {
		if s.Sessions[i].Number == number {
			return &s.Sessions[i], true
		}
	}
	return nil, false
}

// drop removes the sessions that match.
func (s *State) drop(match func(*Record) bool) {
	s.Sessions = slices.DeleteFunc(s.Sessions, func(r Record) bool { return match(&r) })
}

// expire raises the highest expired sequence number. It never falls.
func (s *State) expire(sequence uint64) {
	s.HighestExpired = max(s.HighestExpired, sequence)
	s.Counts = slices.DeleteFunc(s.Counts, func(c Count) bool { return c.Sequence <= s.HighestExpired })
}
