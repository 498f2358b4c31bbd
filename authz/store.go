package authz

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// Errors of a Store on which callers branch.
var (
	ErrNotFound     = errors.New("not found")
	ErrExists       = errors.New("exists already")
	ErrGrantEnded   = errors.New("grant is revoked or ended")
	ErrKeySeen      = errors.New("possession key was used before")
	ErrClockStepped = errors.New("the clock is more than an hour behind the newest stored value: set the clock, then start again")
)

// CodeSpentError says that a code had been redeemed before.
type CodeSpentError struct{ ConsumedAt time.Time }

func (e *CodeSpentError) Error() string {
	return fmt.Sprintf("code was redeemed at %s", e.ConsumedAt.UTC().Format(time.RFC3339))
}

// Store keeps everything the server must not forget. Every method is durable when it returns and safe for concurrent
// use, also by several processes. Methods that find nothing return ErrNotFound; those that add return ErrExists for a
// taken name. Each backend passes storage/storagetest.
type Store interface {
	Clients
	Users
	Devices
	Peers
	Grants
	Codes
	Logins
	SigningKeys
	Audit
	Minter
	io.Closer
}

// Clients keeps registered applications.
type Clients interface {
	AddClient(ctx context.Context, c Client) error // ErrExists also for a PeerID in use by any client or device
	Client(ctx context.Context, id string) (Client, error)
	Clients(ctx context.Context) ([]Client, error)
}

// Users keeps people.
type Users interface {
	AddUser(ctx context.Context, u User) error
	User(ctx context.Context, name string) (User, error)
}

// Devices keeps resource servers.
type Devices interface {
	AddDevice(ctx context.Context, d Device) error // ErrExists for a name, id or SenderID in use
	Device(ctx context.Context, id provision.DeviceID) (Device, error)
	DeviceByName(ctx context.Context, name string) (Device, error)
	Devices(ctx context.Context) ([]Device, error)
	Register(ctx context.Context, id provision.DeviceID, r Registration) error
}

// Peers finds who speaks over CoAP.
type Peers interface {
	// Peer finds the device or client with this OSCORE Sender ID.
	Peer(ctx context.Context, senderID []byte) (Peer, error)
}

// Peer is the other end of a provisioned channel: exactly one field is set.
type Peer struct {
	Device *Device
	Client *Client
}

// Grants keeps owners' permissions.
type Grants interface {
	AddGrant(ctx context.Context, g Grant) error // ErrNotFound for a device that does not exist
	Grant(ctx context.Context, id pop.GrantID) (Grant, error)
	// GrantsOf lists the live and future grants of a subject on a device.
	GrantsOf(ctx context.Context, to Subject, device provision.DeviceID, now time.Time) ([]Grant, error)
	// Grants lists all grants, newest first; owner "" means everyone's.
	Grants(ctx context.Context, owner string) ([]Grant, error)
	GrantChanges
}

// GrantChanges are the conditional writes on a grant.
type GrantChanges interface {
	// Revoke ends a grant and returns its tokens that have not expired. It is idempotent. Once it has returned no Mint
	// for that grant succeeds.
	Revoke(ctx context.Context, id pop.GrantID, now time.Time) ([]TokenRecord, error)
	// Confirm notes when the device first answered to the revocation; a grant that is not revoked is ErrNotFound.
	Confirm(ctx context.Context, id pop.GrantID, now time.Time) error
	// Spend adds entry to the grant's spent rights (D14). It is idempotent.
	Spend(ctx context.Context, id pop.GrantID, entry aif.Entry) error
}

// Codes keeps authorization codes. They are consumed by Mint alone.
type Codes interface {
	AddCode(ctx context.Context, c CodeGrant) error
	// Code reads without consuming; expired and consumed codes are returned as they are.
	Code(ctx context.Context, hash []byte) (CodeGrant, error)
}

// Logins keeps browser sessions.
type Logins interface {
	AddLogin(ctx context.Context, l Login) error
	Login(ctx context.Context, hash []byte, now time.Time) (Login, error) // ErrNotFound when expired
	EndLogin(ctx context.Context, hash []byte) error
}

// SigningKeys keeps this server's keys, newest first.
type SigningKeys interface {
	AddSigningKey(ctx context.Context, k SigningKey) error
	SigningKeys(ctx context.Context) ([]SigningKey, error)
}

// Audit keeps decisions in order.
type Audit interface {
	Record(ctx context.Context, e AuditEntry) error
	// AuditTail lists at most limit newest entries, oldest of them first.
	AuditTail(ctx context.Context, limit int) ([]AuditEntry, error)
}

// Sequence kinds: each counts up for one device and never goes back (D4).
const (
	SequenceEXI  = "exi"
	SequenceNews = "news"
)

// Minter makes tokens appear atomically.
type Minter interface {
	// Mint runs one transaction: it consumes spec.Code by the statement that returns it, checks that spec.Grant is
	// live at spec.Now, advances the device's exi sequence to max(previous + 1, unix seconds · 2^20), notes
	// spec.ClientKey, calls issue, and stores the record it returns together with spec.Audit. If anything fails, issue
	// included, nothing has happened: the code is unspent. Errors: *CodeSpentError, ErrNotFound (no such code, or
	// an expired one; no such grant or device), ErrGrantEnded, ErrKeySeen, ErrClockStepped, and what issue returned,
	// unwrapped. issue may be called again if the transaction must be repeated; it must not block on the network or on
	// the Store.
	Mint(ctx context.Context, spec MintSpec, issue func(Minting) (TokenRecord, error)) error
	// NextSequence advances a sequence outside of Mint, by the same rule.
	NextSequence(ctx context.Context, device provision.DeviceID, kind string, now time.Time) (uint64, error)
	// TokensOf lists a device's tokens that have not expired.
	TokensOf(ctx context.Context, device provision.DeviceID, now time.Time) ([]TokenRecord, error)
}

// MintSpec is what a token needs to exist.
type MintSpec struct {
	Now       time.Time
	Code      []byte             // SHA-256 of the code; nil for client_credentials
	Grant     pop.GrantID        // zero: the owner's own rights, nothing to check
	Device    provision.DeviceID // whose sequence advances
	ClientKey []byte             // a key the client made; remembered as HMAC-SHA-256(store key, key), refused if seen (D9)
	Audit     AuditEntry
}

// Minting is what the transaction found.
type Minting struct {
	Code     CodeGrant // the consumed row; zero without a code
	Sequence uint64
	Epoch    uint64 // the device's
}
