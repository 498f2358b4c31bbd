package sqlstore

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
)

// Transaction is a piece of work, and what it leaves to be entered into the ledger with its commit.
type Transaction struct {
	Work func(context.Context, Querier) error
	Left func() []authz.AuditEntry // asked once Work has succeeded; nil: nothing
}

// Ledger writes the audit entries of a commit as one group of a chain.
type Ledger interface {
	// Enter writes entries within the transaction that is about to commit. done must be called with its outcome: nil once it
	// is committed, ErrUndone when it is not, any other error when nobody knows.
	Enter(ctx context.Context, q Querier, entries []authz.AuditEntry) (done func(error), err error)
}

// keeping is an Engine whose transactions leave audit entries behind.
type keeping struct{ Engine }

// Write runs work in one transaction, as Engine.Commit does.
func (k keeping) Write(ctx context.Context, work func(context.Context, Querier) error) error {
	var n *noting
	return k.Engine.Commit(ctx, Transaction{
		Work: func(ctx context.Context, q Querier) error {
			n = &noting{Querier: q}
			return work(ctx, n)
		},
		Left: func() []authz.AuditEntry { return n.entries },
	})
}

// noting is the Querier of a transaction that keeps the audit entries until it commits, because only then it is known which
// entries share the commit.
type noting struct {
	Querier
	entries []authz.AuditEntry
}

// record leaves an entry for the end of the transaction.
func record(q Querier, e *authz.AuditEntry) {
	n := q.(*noting)
	n.entries = append(n.entries, *e)
}

// ledger is a Ledger of as many chains as this process has transactions at once: a transaction has a chain to itself until its
// outcome is known, so none waits for another, and each chain is in the order of its commits.
type ledger struct {
	store *Store
	mu    sync.Mutex
	free  []*chain // the one used last is taken first
}

// chain is where one chain stands.
type chain struct {
	number int64 // in the register of chains; 0: not opened yet
	id     []byte
	head   int64  // number of its newest group
	link   []byte // what the next group continues
	noted  int64  // the head that the register knows
}

func (l *ledger) take() *chain {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.free) == 0 {
		return &chain{}
	}
	c := l.free[len(l.free)-1]
	l.free = l.free[:len(l.free)-1]
	return c
}

func (l *ledger) give(c *chain) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.free = append(l.free, c)
}

// Enter writes a group. A chain whose last commit has an unknown outcome is not continued: whatever it was, the chain is whole.
func (l *ledger) Enter(ctx context.Context, q Querier, entries []authz.AuditEntry) (func(error), error) {
	before := l.take()
	after, err := l.enter(ctx, q, before, entries)
	if err != nil {
		l.give(before) // the transaction is undone
		return nil, fmt.Errorf("audit: %w", err)
	}
	return func(err error) {
		switch {
		case err == nil:
			l.give(after())
		case errors.Is(err, ErrUndone):
			l.give(before)
		}
	}, nil
}

// enter gives a function that says where the chain stands after the commit, which tells the last of the ids.
func (l *ledger) enter(ctx context.Context, q Querier, before *chain, entries []authz.AuditEntry) (func() *chain, error) {
	c := *before
	if c.number == 0 {
		if err := l.open(ctx, q, &c); err != nil {
			return nil, err
		}
	}
	rows := make([]auditRow, len(entries))
	for i := range entries {
		rows[i] = rowOf(&entries[i])
	}
	mac := l.store.groupMAC(&c, rows)
	for i := range rows {
		last := mac
		if i < len(rows)-1 {
			last = nil
		}
		if err := l.store.insertAudit(ctx, q, &rows[i], &c, last); err != nil {
			return nil, err
		}
	}
	if c.head+1-c.noted < noteEvery {
		return func() *chain { l.store.advance(&c, mac, rows); return &c }, nil
	}
	if err := flush(ctx, q); err != nil {
		return nil, err
	}
	l.store.advance(&c, mac, rows)
	return func() *chain { return &c }, l.note(ctx, q, &c)
}

// note keeps in the register how far a chain has come: what is cut off its end is missed from then on. A register that
// somebody has changed is left to be found as it is.
func (l *ledger) note(ctx context.Context, q Querier, c *chain) error {
	s, err := l.store.chain(ctx, q, c.number)
	if err != nil {
		return err
	}
	c.noted = c.head
	if !same(s.mac, l.store.stateMAC(&s)) {
		return nil
	}
	s.head, s.headLink = c.head, c.link
	return l.store.writeState(ctx, q, &s)
}

// close notes the heads of the chains that nobody has in hand; whoever still writes opens others.
func (l *ledger) close(ctx context.Context) error {
	l.mu.Lock()
	ahead := slices.DeleteFunc(l.free, func(c *chain) bool { return c.noted == c.head })
	l.free = nil
	l.mu.Unlock()
	if len(ahead) == 0 {
		return nil
	}
	return l.store.open().Write(ctx, func(ctx context.Context, q Querier) error {
		for _, c := range ahead {
			if err := l.note(ctx, q, c); err != nil {
				return err
			}
		}
		return nil
	})
}

// open enters a chain into the register, whose rows are a chain themselves: none can be left out. The first takes on the
// entries of before there were chains.
func (l *ledger) open(ctx context.Context, q Querier, c *chain) (err error) {
	if c.number, err = count(ctx, q, counterChains, 1); err != nil { // others who open wait here
		return err
	}
	var before []byte
	if c.number > 1 {
		if err := one(ctx, q, ask(`SELECT opened FROM audit_chains WHERE number = $1`, c.number-1), &before); err != nil {
			return err
		}
	}
	if c.id, err = l.store.sealer.Random(chainIDSize); err != nil {
		return err
	}
	c.link = l.store.openedMAC(before, c)
	s := chainState{id: c.id, prunedLink: c.link, headLink: c.link}
	err = run(ctx, q, ask(`INSERT INTO audit_chains (number, id, opened, pruned_number, pruned_link, head_number, head_link, state)
		VALUES ($1, $2, $3, 0, $3, 0, $3, $4)`, c.number, c.id, c.link, l.store.stateMAC(&s)))
	if err != nil || c.number > 1 {
		return err
	}
	return l.adopt(ctx, q, c)
}

// adopted lets the entries of before there were chains be adopted now, which is a decision on record: whoever made the log look
// as if it had no chain yet would be seen by it.
func (s *Store) adopted(ctx context.Context, now time.Time) error {
	var found int64
	err := one(ctx, s.engine.Reader(), ask(`SELECT 1 WHERE EXISTS (SELECT 1 FROM audit) AND NOT EXISTS (SELECT 1 FROM audit_chains)`), &found)
	if errors.Is(err, authz.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	return s.Record(ctx, authz.AuditEntry{
		At: now, Event: "audit.adopt", Result: "granted", Reason: "entries of before there were audit chains are in one from here on",
	})
}

// adopt makes groups of the entries that have none.
func (l *ledger) adopt(ctx context.Context, q Querier, c *chain) error {
	rows, err := all(ctx, q, ask(`SELECT `+auditRowColumns+` FROM audit WHERE chain = 0 ORDER BY id`), scanAuditRow)
	if err != nil || len(rows) == 0 {
		return err
	}
	for group := range slices.Chunk(rows, adoptAtOnce) {
		mac, last := l.store.groupMAC(c, group), group[len(group)-1].id
		if err := run(ctx, q, ask(`UPDATE audit SET chain = $1, number = $2 WHERE chain = 0 AND id <= $3`, c.number, c.head+1, last)); err != nil {
			return err
		}
		if err := touch(ctx, q, ask(`UPDATE audit SET mac = $2 WHERE id = $1`, last, mac)); err != nil {
			return err
		}
		l.store.advance(c, mac, group)
	}
	return nil
}

// same compares MACs.
func same(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }
