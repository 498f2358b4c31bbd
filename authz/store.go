package authz

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/latchkey-ace/latchkey/authz/attest"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// Errors of a Store on which callers branch.
var (
	ErrNotFound     = errors.New("not found")
	ErrExists       = errors.New("exists already")
	ErrGrantEnded   = errors.New("grant is revoked or ended")
	ErrSeriesEnded  = errors.New("first token with this key is revoked or gone")
	ErrKeySeen      = errors.New("possession key was used before")
	ErrKeyWithdrawn = errors.New("signing key was withdrawn")
	ErrReplayed     = errors.New("used before")
	ErrUnavailable  = errors.New("the store is not available now")
	ErrClockStepped = errors.New("the clock is more than an hour behind the newest stored value: set the clock, then start again")
)

// CodeSpentError says that a code had been redeemed before.
type CodeSpentError struct{ ConsumedAt time.Time }

func (e *CodeSpentError) Error() string {
	return fmt.Sprintf("code was redeemed at %s", e.ConsumedAt.UTC().Format(time.RFC3339))
}

// SuspendedError says which of the parties to a token is suspended, gone, or no longer what it was: "user", "owner",
// "client", "device" or "grant".
type SuspendedError struct{ What string }

func (e *SuspendedError) Error() string { return e.What + " is suspended or gone" }

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
	Refreshing
	Ending
	TRL
	Outbox
	Requests
	DeviceCodes
	Uses
	Instances
	RegistrationTokens
	Registrations
	Leases
	Housekeeping
	Recovering
	// Recall gives a context for one request that reads much and changes nothing of what it has read: within it Client, Device,
	// DeviceByName, DeviceByResource, GrantsOf, Token and Live may answer with what the store held at the time of this call or
	// later, whichever process wrote it. The Registration of a device may be older: ask for it where it matters.
	Recall(ctx context.Context) (context.Context, error)
	io.Closer
}

// Clients keeps registered applications.
type Clients interface {
	// AddClient keeps a client; ErrExists also for the name of a user, because sub would name both (RFC 9068 §5), and for a PeerID
	// or a MasterSecret that any client or device brought along.
	AddClient(ctx context.Context, c Client) error
	Client(ctx context.Context, id string) (Client, error)
	Clients(ctx context.Context) ([]Client, error)
	// UpdateClient replaces everything but ID, Channel, SuspendedAt and CreatedAt.
	UpdateClient(ctx context.Context, c Client) error
	// DeleteClient forgets a client. End its tokens first: what it may have got stays until it expires.
	DeleteClient(ctx context.Context, id string) error
	// SuspendClient stops or, with the zero time, lets go on. Once it has returned no Mint goes against it.
	SuspendClient(ctx context.Context, id string, at time.Time) error
}

// Users keeps people.
type Users interface {
	// AddUser keeps a person; ErrExists also for the id of a client.
	AddUser(ctx context.Context, u User) error
	User(ctx context.Context, name string) (User, error)
	SuspendUser(ctx context.Context, name string, at time.Time) error // as SuspendClient
}

// Devices keeps resource servers.
type Devices interface {
	// AddDevice keeps a device; ErrExists for a name, id or SenderID in use, and as AddClient for a Channel.
	AddDevice(ctx context.Context, d Device) error
	Device(ctx context.Context, id provision.DeviceID) (Device, error)
	DeviceByName(ctx context.Context, name string) (Device, error)
	Devices(ctx context.Context) ([]Device, error)
	DeviceByResource(ctx context.Context, uri string) (Device, error)
	Register(ctx context.Context, id provision.DeviceID, r Registration) error
	// Registration is where a device was last seen; zero for one that never was.
	Registration(ctx context.Context, id provision.DeviceID) (Registration, error)
	SuspendDevice(ctx context.Context, id provision.DeviceID, at time.Time) error // as SuspendClient
	// SetDemands replaces what actions of a device ask of apps; of an action that the device does not have nothing is kept.
	SetDemands(ctx context.Context, id provision.DeviceID, demands map[string]attest.Demand) error
	// TransferDevice gives a device a new state, owner and epoch, the epoch never lower than before. Grants of an earlier
	// owner mint nothing from then on.
	TransferDevice(ctx context.Context, id provision.DeviceID, state DeviceState, owner string, epoch uint64) error
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
	SuspendGrant(ctx context.Context, id pop.GrantID, at time.Time) error // as SuspendClient
}

// Codes keeps authorization codes. They are consumed by Mint alone.
type Codes interface {
	// AddCode keeps a code. With the hash of a pushed request it also consumes that, in the same transaction;
	// ErrNotFound if there is none.
	AddCode(ctx context.Context, c CodeGrant, request []byte) error
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
	// UpdateSigningKeys changes the times of keys, all or none. A key that was withdrawn stays so.
	UpdateSigningKeys(ctx context.Context, keys ...SigningKey) error
}

// Audit keeps decisions in order.
type Audit interface {
	Record(ctx context.Context, e AuditEntry) error
	// AuditTail lists at most limit newest entries, oldest of them first.
	AuditTail(ctx context.Context, limit int) ([]AuditEntry, error)
	AuditReading
}

// Sequence kinds: each counts up for one device and never goes back (D4).
const (
	SequenceEXI  = "exi"
	SequenceNews = "news"
)
