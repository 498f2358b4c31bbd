package authz

import (
	"context"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// Minter makes tokens appear atomically.
type Minter interface {
	// Mint runs one transaction. It consumes what spec names, by the statement that returns it: a code, a device code or a
	// generation of a refresh token, and the proofs. It checks at spec.Now, in this one place, that client, user, device,
	// owner and grant are there, live and not suspended and that the device still is its owner's; advances the device's exi
	// sequence to max(previous + 1, unix seconds · 2^20); notes spec.ClientKey; calls issue; and stores the record that
	// issue returns, with its family, together with spec.Audit. If anything fails, issue included, nothing has happened: the
	// code is unspent.
	//
	// Errors: *CodeSpentError (a code or device code), *RefreshReusedError, ErrNotFound (no such code or family, or an
	// expired one; no such device), ErrGrantEnded, ErrSeriesEnded, *SuspendedError, ErrKeySeen, ErrReplayed, ErrPending, ErrDenied, ErrBusy, ErrClockStepped,
	// ErrRestored, ErrLogWanted, ErrKeyWithdrawn (of TokenRecord.SignedBy), and what
	// issue returned, unwrapped. issue may be called again if the transaction must be repeated; it must not block on the network
	// or on the Store.
	Mint(ctx context.Context, spec MintSpec, issue func(Minting) (Issued, error)) error
	// NextSequence advances a sequence outside of Mint, by the same rule.
	NextSequence(ctx context.Context, device provision.DeviceID, kind string, now time.Time) (uint64, error)
	// Token finds a token by its id, whatever its state.
	Token(ctx context.Context, id []byte) (TokenRecord, error)
	// TokensOf lists a device's tokens that have not expired and are not revoked.
	TokensOf(ctx context.Context, device provision.DeviceID, now time.Time) ([]TokenRecord, error)
	// Live checks outside of Mint what Mint checks of the parties, for introspection.
	Live(ctx context.Context, parties Parties, now time.Time) error
}

// Parties are whom a token needs to be live: those named are checked.
type Parties struct {
	Client string             // "": no client
	User   string             // "": no user
	Grant  pop.GrantID        // zero: the owner's own rights
	Device provision.DeviceID // and its owner
}

// MintSpec is what a token needs to exist.
type MintSpec struct {
	Now time.Time
	Parties
	Code       []byte      // SHA-256 of the code; nil without
	DeviceCode []byte      // SHA-256 of the device code; nil without
	Refresh    *RefreshUse // nil without
	Proofs     []Use       // spent together with the rest; ErrReplayed if one was used before
	Series     []byte      // id of a token that must not be revoked: the first with the possession key; nil: none
	ClientKey  []byte      // a key the client made; remembered as HMAC-SHA-256(store key, key), refused if seen (D9)
	Audit      AuditEntry
}

// Minting is what the transaction found.
type Minting struct {
	Code       CodeGrant  // the consumed row; zero without a code
	DeviceCode DeviceCode // the consumed row; zero without
	Family     Family     // as it is after this use; zero without
	Sequence   uint64
	Epoch      uint64 // the device's
}

// Issued is what issue made.
type Issued struct {
	Token  TokenRecord
	Family *Family // a new family to keep with it; nil without
}
