package authz

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-ace/latchkey/pop/provision"
)

var (
	// ErrRestored says that the store came from a backup and is only read until latchkey recover.
	// It is ErrUnavailable too: those who ask may come again.
	ErrRestored = fmt.Errorf("the store was restored from a backup and is only read: run latchkey recover, which ends what may have been used since the backup was made (%w)", ErrUnavailable)
	// ErrLogWanted says that a grant that is good once gives no token before the device's log has been read.
	ErrLogWanted = errors.New("the store was restored, and what the device has used up since is not known before its log was read")
)

// Recovery is what Recover has ended.
type Recovery struct {
	Made    time.Time // when the backup was made; zero: the store was not restored
	Codes   int64     // authorization codes, pushed requests and device codes
	Logins  int64
	Invited int64 // initial access tokens
	Refresh int64 // refresh tokens
	Tokens  int64
	Devices int64
	Logs    int64 // devices whose log is wanted
}

// Recovering makes a store that went back good again (docs/adr/0046).
//
// While a store is restored and not recovered, every method that writes gives ErrRestored, and so do Mint, NextSequence and
// Live; but Record still records, and Sweep does nothing.
type Recovering interface {
	// Restored is when the backup was made from which the store was restored; zero: it was not, or has been recovered.
	Restored(ctx context.Context) (time.Time, error)
	// Recover runs one transaction that ends all codes, sessions, refresh tokens, initial access tokens and access tokens, moves
	// every value that never goes back past all that a server whose clock was not ahead of now may have given out (D4), raises
	// the epoch of every device (D17), begins the revocation list anew, wants the log of each device that sends one, and lets
	// the store be written. It may be called on any store, as often as one likes.
	Recover(ctx context.Context, audit AuditEntry, now time.Time) (Recovery, error)
	// LogWanted is when Recover wanted a device's log; zero: it is not wanted.
	LogWanted(ctx context.Context, device provision.DeviceID) (time.Time, error)
	// LogRead notes that the log wanted then has been read from its beginning to its end. If it was wanted again since,
	// nothing changes.
	LogRead(ctx context.Context, device provision.DeviceID, wanted time.Time) error
}
