package authz

import (
	"context"
	"fmt"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
)

// AuditReading looks into the audit log and keeps its length.
type AuditReading interface {
	// AuditFind lists the newest entries that match, at most q.Limit, oldest of them first.
	AuditFind(ctx context.Context, q AuditQuery) ([]AuditRecord, error)
	// VerifyAudit walks the whole log as of one moment. An entry that was changed, removed, put in or moved is a
	// *AuditBrokenError. Heads that were kept elsewhere must be met on the way: only they show that the end was cut off together
	// with all that the tables themselves remember of it.
	VerifyAudit(ctx context.Context, kept ...AuditHead) (AuditReport, error)
	// PruneAudit removes entries that are older than before from the front of the log, whole commits of at most about limit
	// rows, so that the rest can still be verified, and reports how many went.
	PruneAudit(ctx context.Context, before time.Time, limit int) (int, error)
}

// AuditRecord is an entry as it stands in the log. IDs grow in the order of recording; several nodes may make later ones seen
// first.
type AuditRecord struct {
	ID int64
	AuditEntry
}

// AuditQuery selects entries; zero fields match everything.
type AuditQuery struct {
	Grant  pop.GrantID
	Client string
	User   string
	Device string // audience
	Event  string
	Since  time.Time
	After  int64 // id
	Limit  int
}

// AuditReport is what a whole log looks like.
type AuditReport struct {
	Entries int
	Pruned  bool // entries were removed by their age
	Heads   []AuditHead
}

// AuditHead is how far one chain of the log has come. Whoever keeps it elsewhere can tell later whether the end of the log was
// cut off.
type AuditHead struct {
	Chain  int64
	Number int64  // of its newest commit
	Link   []byte // which stands for all of it
}

// AuditBrokenError says that the log is not as it was written.
type AuditBrokenError struct {
	Entry int64 // id of the first entry that does not fit, 0 where entries are missing at the end
	Chain int64
	Why   string
}

func (e *AuditBrokenError) Error() string {
	if e.Entry == 0 {
		return fmt.Sprintf("audit chain %d: %s", e.Chain, e.Why)
	}
	return fmt.Sprintf("audit entry %d (chain %d): %s", e.Entry, e.Chain, e.Why)
}
