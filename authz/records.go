package authz

import (
	"context"
	"errors"
	"time"

	"github.com/latchkey-ace/latchkey/authz/attest"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/pop/trl"
)

// FamilyID names a refresh token and all its successors: 16 random bytes.
type FamilyID [16]byte

// Family is a refresh token and its successors (D19). The token of a generation is id ‖ generation ‖ HMAC under the store
// key, so that every generation can be recognised and none can be made from what the tables hold.
type Family struct {
	ID         FamilyID
	Generation uint32 // of the token that is good now; stays 0 where BoundKey is set
	RotatedAt  time.Time
	Client     string
	User       string
	Device     provision.DeviceID
	Grant      pop.GrantID
	Rights     aif.Rights // what the person agreed to; a refresh gives this or less (RFC 6749 §6)
	Details    string     // authorization_details as granted
	BoundKey   []byte     // thumbprint of the key a refresh must prove; nil: the token rotates
	Material   pop.InputMaterial
	Series     []byte // id of the first token with that possession key
	Code       []byte // hash of the code it came from; nil otherwise
	IssuedAt   time.Time
	ExpiresAt  time.Time // absolute, whatever is refreshed
	RevokedAt  time.Time
}

// RefreshUse is a refresh token as presented, after its HMAC was found good.
type RefreshUse struct {
	Family     FamilyID
	Generation uint32
	Rotate     bool // the next generation takes its place
}

// RefreshReusedError says that a generation was presented that its successor had replaced: the family has to end.
type RefreshReusedError struct{ Family FamilyID }

func (e *RefreshReusedError) Error() string { return "refresh token was replaced before" }

// Refreshing makes and recognises refresh tokens. They are used by Mint alone.
type Refreshing interface {
	// RefreshSecret is the HMAC of a generation, 32 bytes.
	RefreshSecret(f FamilyID, generation uint32) []byte
	Family(ctx context.Context, id FamilyID) (Family, error)
	// Families lists those of a user or a client, or of all when both are "", newest first.
	Families(ctx context.Context, user, client string, now time.Time) ([]Family, error)
}

// EndSpec says which tokens end: exactly one of its fields is set, but for Audit.
type EndSpec struct {
	Token  []byte   // one token by its id
	Code   []byte   // all that came from a code, its family too
	Family FamilyID // a refresh token and the tokens that came with and from it
	Grant  pop.GrantID
	Client string
	User   string
	Device provision.DeviceID
	// SignedBy is one of the server's keys, which was withdrawn before: refresh tokens go on.
	SignedBy string
	Audit    AuditEntry
}

// Ending ends tokens before their time.
type Ending interface {
	// End runs one transaction: the tokens that have not expired are revoked, their refresh tokens with them, their hashes
	// are put on the revocation list and, for devices that are pushed to, into the outbox. It returns the tokens that it
	// ended. It is idempotent; what is not there is no error. Once it has returned no Mint gives what has ended.
	//
	// Of a client, user or device there may be very many: their refresh tokens end first, with Audit, and then the tokens, in
	// transactions of bounded size. An error means that some may have ended: end them again.
	End(ctx context.Context, spec EndSpec, now time.Time) ([]TokenRecord, error)
}

// Requester is whose part of the revocation list is asked for (RFC 9770 §6): exactly one field is set.
type Requester struct {
	Device provision.DeviceID
	Client string
	All    bool // an administrator
}

// TRL reads the token revocation list.
type TRL interface {
	// Revoked is the requester's part of the list and the newest updates of it, as one consistent state.
	Revoked(ctx context.Context, by Requester) (trl.Collection, error)
	// RevokedIndex is the index of the newest update of all, 0 before the first: when it has not grown nothing has changed.
	RevokedIndex(ctx context.Context) (uint64, error)
}

// Message is what a device has to be told: hashes of ended tokens.
type Message struct {
	ID        int64
	Device    provision.DeviceID
	Grant     pop.GrantID // zero: of no single grant
	Hashes    [][]byte
	CreatedAt time.Time
	Attempts  int
	ExpiresAt time.Time // from here on no device keeps a token that it is about
}

// Outbox keeps what devices have to be told until they know.
type Outbox interface {
	// Due takes at most limit messages that are due, each for a single caller, who has until lease to say what became of it;
	// after that they are due again.
	Due(ctx context.Context, now, lease time.Time, limit int) ([]Message, error)
	// Waiting lists what a device has not confirmed yet, oldest first.
	Waiting(ctx context.Context, device provision.DeviceID, now time.Time) ([]Message, error)
	// Told notes that the device has confirmed. A grant whose last message it was is confirmed with it.
	Told(ctx context.Context, now time.Time, ids ...int64) error
	// Retry lets messages wait until due.
	Retry(ctx context.Context, due time.Time, ids ...int64) error
}

// PushedRequest is an authorization request that a client pushed (RFC 9126).
type PushedRequest struct {
	Hash      []byte // SHA-256 of the random part of request_uri
	Client    string
	Query     string // the request as a query
	Verdict   attest.Verdict
	ExpiresAt time.Time
}

// Requests keeps pushed requests. They are consumed by AddCode.
type Requests interface {
	AddRequest(ctx context.Context, r PushedRequest) error
	// Request finds one that has not expired, without consuming it.
	Request(ctx context.Context, hash []byte, now time.Time) (PushedRequest, error)
	// ProlongRequest lets one that has not expired live until then at least.
	ProlongRequest(ctx context.Context, hash []byte, now, until time.Time) error
}

// ErrPending says that nobody has answered for a device code yet; ErrDenied that the answer was no.
var (
	ErrPending = errors.New("not answered yet")
	ErrDenied  = errors.New("denied")
)

// ErrBusy says that the refresh token was replaced a moment ago, by a request that may still be on its way: who asks again
// after RefreshPause gets the successor.
var ErrBusy = errors.New("the same is being done")

// DeviceCode is a device authorization request (RFC 8628). Only hashes of its two codes are stored.
type DeviceCode struct {
	Hash       []byte // SHA-256 of device_code
	UserCode   string // in a form without separators; at rest an HMAC, so empty when read
	Client     string
	Device     provision.DeviceID
	Asked      aif.Rights
	Details    string
	BoundKey   []byte
	Verdict    attest.Verdict // of the app instance that asked
	Pace       time.Duration  // between polls; whole seconds
	PolledAt   time.Time
	Answer     string // "", AnswerYes or AnswerNo
	User       string
	Rights     aif.Rights // what the person agreed to
	Grant      pop.GrantID
	IssuedAt   time.Time
	ExpiresAt  time.Time
	ConsumedAt time.Time
}

// Answers to a device code.
const (
	AnswerYes = "yes"
	AnswerNo  = "no"
)

// DeviceCodes keeps device authorization requests. They are consumed by Mint, which gives ErrPending before the answer and
// ErrDenied after a no.
type DeviceCodes interface {
	AddDeviceCode(ctx context.Context, c DeviceCode) error // ErrExists for a user code in use
	DeviceCode(ctx context.Context, hash []byte) (DeviceCode, error)
	// DeviceCodeFor finds one that waits for its answer by what a person typed.
	DeviceCodeFor(ctx context.Context, userCode string, now time.Time) (DeviceCode, error)
	// AnswerDeviceCode writes Answer, User, Rights and Grant, once; ErrNotFound when answered or expired.
	AnswerDeviceCode(ctx context.Context, c DeviceCode, now time.Time) error
	// PollDeviceCode notes a poll. When the last is less than Pace ago, Pace grows by 5 s (RFC 8628 §3.5) and early is true.
	PollDeviceCode(ctx context.Context, hash []byte, now time.Time) (early bool, err error)
}

// Use is something that may be used once within its life: the jti of an assertion or proof.
type Use struct {
	Kind  string
	Value []byte // a hash, bound to whoever made the value
	Until time.Time
}

// Kinds of use.
const (
	UseAssertion = "client assertion" // private_key_jwt (RFC 7523 §3)
	UseDPoP      = "dpop"             // a DPoP proof (RFC 9449 §11.1)
	UseProof     = "instance proof"   // a proof of an instance key
	UseChallenge = "challenge"        // one that this server gave out for such a proof
	UseIntegrity = "integrity token"  // one that is bound to a request and not to a key
)

// ReplayedError is ErrReplayed and says what was used before.
type ReplayedError struct{ Kind string }

func (e *ReplayedError) Error() string { return e.Kind + ": " + ErrReplayed.Error() }

func (e *ReplayedError) Unwrap() error { return ErrReplayed }

// Uses spends what may be used once outside of Mint.
type Uses interface {
	// UseOnce notes all or none; ErrReplayed when one was used before.
	UseOnce(ctx context.Context, now time.Time, uses ...Use) error
}

// Instance is an instance of an app whose platform counts what its key signs.
type Instance struct {
	ID        []byte // as its platform names it
	Client    string
	App       string
	PublicKey []byte // uncompressed point
	Verdict   attest.Verdict
	Counter   uint32   // of the newest statement
	Serials   []string // of the certificates that vouched for it, where one may be revoked later
	CreatedAt time.Time
	ExpiresAt time.Time // prolonged by each statement
}

// Instances keeps them, so that no statement counts twice.
type Instances interface {
	// AddInstance keeps one; ErrExists for an id that is there.
	AddInstance(ctx context.Context, i Instance) error
	// Instance finds one of a client that has not expired.
	Instance(ctx context.Context, client string, id []byte, now time.Time) (Instance, error)
	// CountInstance moves the counter up to a higher value; ErrReplayed when it is there or beyond already.
	CountInstance(ctx context.Context, id []byte, counter uint32, until time.Time) error
}

// RegistrationToken lets who has it register clients (RFC 7591 §3, initial access token).
type RegistrationToken struct {
	Hash      []byte
	Note      string // for the operator
	Uses      int    // left
	Allowed   Allowed
	CreatedAt time.Time
	ExpiresAt time.Time
}

// Allowed is what a client may be that registers itself, then and whenever it changes its registration.
type Allowed struct {
	GrantTypes     []string     `json:"grant_types"`
	AuthMethods    []AuthMethod `json:"auth_methods"`
	Scope          []string     `json:"scope,omitempty"`            // the most it may ask for; nil: no ceiling
	Bearer         bool         `json:"bearer,omitempty"`           // it gets the permission of that name
	ClientMadeKeys bool         `json:"client_made_keys,omitempty"` // as Bearer
}

// Registered is what is kept of a registration beside what every client has.
type Registered struct {
	Allowed         Allowed `json:"allowed"`
	SoftwareID      string  `json:"software_id,omitempty"`
	SoftwareVersion string  `json:"software_version,omitempty"`
}

// RegistrationTokens keeps initial access tokens.
type RegistrationTokens interface {
	AddRegistrationToken(ctx context.Context, t RegistrationToken) error
	// RegistrationToken finds one that has a use left and has not expired, without consuming it.
	RegistrationToken(ctx context.Context, hash []byte, now time.Time) (RegistrationToken, error)
	// RegistrationTokens lists those, newest first.
	RegistrationTokens(ctx context.Context, now time.Time) ([]RegistrationToken, error)
	EndRegistrationToken(ctx context.Context, hash []byte, audit AuditEntry) error
}

// Registrations keeps what clients do to their own records. Each method is one transaction with its audit entry.
type Registrations interface {
	// RegisterClient consumes one use of an initial access token and keeps the client; ErrNotFound, and nothing is kept, when
	// there is no use left.
	RegisterClient(ctx context.Context, token []byte, c Client, audit AuditEntry) error
	// ReplaceClient is UpdateClient for a client that has c.Management and is not suspended; ErrNotFound for any other.
	ReplaceClient(ctx context.Context, c Client, audit AuditEntry) error
	// UnregisterClient forgets a client that has this hash for Management and is not suspended, and revokes the grants to it.
	// Once it has returned no Mint goes for it. What it had got is for End.
	UnregisterClient(ctx context.Context, id string, management []byte, audit AuditEntry) error
}

// Leases let one of several processes do what only one should do.
type Leases interface {
	// Lease takes or prolongs a lease until then and reports whether holder has it.
	Lease(ctx context.Context, name, holder string, now, until time.Time) (bool, error)
}

// Housekeeping removes what nobody asks for any more.
type Housekeeping interface {
	// Sweep removes at most limit rows of each table whose expires_at has passed, in one transaction for each table, and
	// reports how many went. Revoked tokens leave the revocation list by it.
	Sweep(ctx context.Context, now time.Time, limit int) (int, error)
}
