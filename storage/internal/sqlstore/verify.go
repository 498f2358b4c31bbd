package sqlstore

import (
	"context"
	"fmt"
	"math"

	"github.com/latchkey-ace/latchkey/authz"
)

// verification walks the audit log in the order of its rows, which is that of each chain.
type verification struct {
	store  *Store
	chains []*walk                   // by number, from 1
	kept   map[place]authz.AuditHead // not met yet
	report authz.AuditReport
}

// place is a group of a chain.
type place struct{ chain, number int64 }

// walk is where the walk along one chain stands.
type walk struct {
	chain
	state chainState
	group []auditRow // rows of the group that has begun
}

// VerifyAudit checks every MAC of the log on one snapshot of it.
func (s *Store) VerifyAudit(ctx context.Context, kept ...authz.AuditHead) (authz.AuditReport, error) {
	v := &verification{store: s, kept: map[place]authz.AuditHead{}}
	for _, h := range kept {
		v.kept[place{h.Chain, h.Number}] = h
	}
	err := s.engine.Snapshot(ctx, func(ctx context.Context, q Querier) error {
		if err := v.register(ctx, q); err != nil {
			return err
		}
		if err := v.rows(ctx, q); err != nil {
			return err
		}
		return v.ends()
	})
	if err != nil {
		return authz.AuditReport{}, fmt.Errorf("audit: %w", err)
	}
	return v.report, nil
}

// register checks the register of chains: each row follows the one before and says what we have said.
func (v *verification) register(ctx context.Context, q Querier) error {
	var newest counter
	states, err := all(ctx, q, ask(`SELECT `+chainColumns+` FROM audit_chains ORDER BY number`), scanChain)
	if err != nil {
		return err
	}
	err = one(ctx, q, ask(`SELECT COALESCE(MAX(value), 0) FROM counters WHERE name = '`+counterChains+`'`), &newest)
	if err != nil {
		return err
	}
	var before []byte
	for i := range states {
		s := states[i]
		c := chain{number: s.number, id: s.id, head: s.pruned, link: s.prunedLink}
		switch {
		case s.number != int64(i+1):
			return broken(0, int64(i+1), "it is not in the register")
		case !same(s.opened, v.store.openedMAC(before, &c)):
			return broken(0, s.number, "it was not opened by us, or a chain before it is gone")
		case !same(s.mac, v.store.stateMAC(&s)), s.pruned == 0 && !same(s.prunedLink, s.opened):
			return broken(0, s.number, "its place in the register was changed")
		}
		before = s.opened
		w := &walk{chain: c, state: s}
		v.chains = append(v.chains, w)
		if s.pruned > 0 && !v.meets(w) {
			return broken(0, s.number, "it is not what was recorded")
		}
		v.report.Pruned = v.report.Pruned || s.pruned > 0
	}
	if uint64(newest) != uint64(len(states)) {
		return broken(0, int64(newest), "it is not in the register")
	}
	return nil
}

func broken(entry, chain int64, why string) error {
	return &authz.AuditBrokenError{Entry: entry, Chain: chain, Why: why}
}

func (v *verification) rows(ctx context.Context, q Querier) error {
	last := int64(math.MinInt64)
	for {
		page, err := all(ctx, q, ask(`SELECT `+auditRowColumns+` FROM audit WHERE id > $1 ORDER BY id LIMIT $2`, last, pageSize), scanAuditRow)
		if err != nil {
			return err
		}
		for i := range page {
			if err := v.row(&page[i]); err != nil {
				return err
			}
		}
		if len(page) < pageSize {
			return nil
		}
		last = page[len(page)-1].id
	}
}

// row takes one row into the group of its chain; the one with a MAC ends the group.
func (v *verification) row(r *auditRow) error {
	v.report.Entries++
	if r.chain < 1 || r.chain > int64(len(v.chains)) {
		return broken(r.id, r.chain, "it was put in: there is no such chain")
	}
	w := v.chains[r.chain-1]
	if r.number != w.head+1 {
		return broken(r.id, r.chain, "what was recorded before it is gone, or it was moved or put in")
	}
	w.group = append(w.group, *r)
	if r.mac == nil {
		return nil
	}
	if !same(r.mac, v.store.groupMAC(&w.chain, w.group)) {
		return broken(w.group[0].id, r.chain, fmt.Sprintf("it or another up to entry %d was changed, removed, put in or moved", r.id))
	}
	v.store.advance(&w.chain, r.mac, w.group)
	w.group = nil
	if w.head == w.state.head && !same(w.link, w.state.headLink) || !v.meets(w) {
		return broken(r.id, r.chain, "it is not what was recorded there")
	}
	return nil
}

// meets compares a head that somebody kept, once the walk is there.
func (v *verification) meets(w *walk) bool {
	at := place{w.number, w.head}
	h, is := v.kept[at]
	delete(v.kept, at)
	return !is || same(h.Link, w.link)
}

// ends checks that nothing is missing at the end of a chain.
func (v *verification) ends() error {
	for _, w := range v.chains {
		switch {
		case len(w.group) > 0:
			return broken(w.group[0].id, w.number, "it was put in, or what was recorded with it is gone")
		case w.head < w.state.head:
			return broken(0, w.number, fmt.Sprintf("commits %d to %d are gone from its end", w.head+1, w.state.head))
		}
		for at := range v.kept {
			if at.chain == w.number && at.number < w.state.pruned {
				delete(v.kept, at) // too old to be compared
			}
		}
		v.report.Heads = append(v.report.Heads, authz.AuditHead{Chain: w.number, Number: w.head, Link: w.link})
	}
	for at := range v.kept {
		return broken(0, at.chain, fmt.Sprintf("commit %d, which was there when its head was kept, is gone", at.number))
	}
	return nil
}
