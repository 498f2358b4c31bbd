package storagetest

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
)

// writeLog leaves entries of many kinds of commits by two processes: alone, many at once, of mints and of ends.
func writeLog(t *testing.T, db Database, n int) authz.Store {
	t.Helper()
	ctx, store := t.Context(), house(t, db)
	second := open(t, db)
	together(n, func(i int) {
		e := decision(fmt.Sprint("at once ", i))
		e.Client = []string{"phone", "tablet"}[i%2]
		if err := []authz.Store{store, second}[i%2].Record(ctx, e); err != nil {
			t.Errorf("record: %v", err)
		}
	})
	for i := range 4 {
		must(t, store.Mint(ctx, spec(""), issue(token(fmt.Sprint(i)))))
		must(t, second.Record(ctx, decision("alone")))
	}
	get(second.End(ctx, authz.EndSpec{Token: token("1").ID, Audit: decision("ended")}, evening))(t)
	must(t, second.Close())
	return store
}

// brokenLog wants an *authz.AuditBrokenError.
func brokenLog(t *testing.T, what string, store authz.Store, kept ...authz.AuditHead) {
	t.Helper()
	var found *authz.AuditBrokenError
	if _, err := store.VerifyAudit(t.Context(), kept...); !errors.As(err, &found) {
		t.Errorf("%s: got %v, want an *authz.AuditBrokenError", what, err)
	}
}

// wholeLog wants so many entries.
func wholeLog(t *testing.T, what string, store authz.Store, entries int, kept ...authz.AuditHead) authz.AuditReport {
	t.Helper()
	report, err := store.VerifyAudit(t.Context(), kept...)
	if err != nil || report.Entries != entries {
		t.Errorf("%s: got %d entries, %v, want %d", what, report.Entries, err, entries)
	}
	return report
}

// tampering keeps copies of the log's tables, so that each change can be taken back.
type tampering struct {
	t     *testing.T
	db    Database
	store authz.Store
}

var logTables = []string{"audit", "audit_chains", "counters"}

func tamper(t *testing.T, db Database, store authz.Store) *tampering {
	t.Helper()
	_, _ = db.Raw.Exec(`ALTER TABLE audit ALTER id DROP IDENTITY`) // who may write may also do this; SQLite has no such thing
	for _, table := range logTables {
		get(db.Raw.Exec(`CREATE TABLE ` + table + `_kept AS SELECT * FROM ` + table))(t)
	}
	return &tampering{t, db, store}
}

func (x *tampering) exec(statements ...string) {
	x.t.Helper()
	tx := get(x.db.Raw.Begin())(x.t)
	for _, s := range statements {
		if _, err := tx.Exec(s); err != nil {
			x.t.Fatalf("%s: %v", s, err)
		}
	}
	must(x.t, tx.Commit())
}

func (x *tampering) undo() {
	x.t.Helper()
	var statements []string
	for _, table := range logTables {
		statements = append(statements, `DELETE FROM `+table, `INSERT INTO `+table+` SELECT * FROM `+table+`_kept`)
	}
	x.exec(statements...)
}

// found makes a change, wants it found, and takes it back.
func (x *tampering) found(statements ...string) {
	x.t.Helper()
	x.exec(statements...)
	brokenLog(x.t, strings.Join(statements, "; "), x.store)
	x.undo()
}

// F125: entries that are removed, changed, moved or put in are found, wherever in the log they are.
func tamperedLogIsFound(t *testing.T, db Database) {
	store := writeLog(t, db, 12)
	wholeLog(t, "as written", store, 21)
	must(t, store.Close())
	store = open(t, db)
	x := tamper(t, db, store)
	ids := numbers(t, db, `SELECT id FROM audit ORDER BY id`)
	for i, id := range ids {
		where := fmt.Sprint(` WHERE id = `, id)
		x.found(`DELETE FROM audit` + where)
		for _, column := range []string{"event", "result", "reason", "client_id", "user_name", "device"} {
			x.found(`UPDATE audit SET ` + column + ` = ` + column + ` || 'x'` + where)
		}
		for _, change := range []string{
			`at = at + 1`, `grant_id = id8.v`, `chain = 0`, `chain = 99`, `chain = chain + 1`, `number = number + 1`, `number = 0`, `mac = CASE WHEN mac IS NULL THEN grant_id ELSE NULL END`,
		} {
			x.found(strings.ReplaceAll(`UPDATE audit SET `+change+where, `id8.v`, `(SELECT id FROM devices)`))
		}
		next := ids[(i+1)%len(ids)]
		x.found(fmt.Sprint(`UPDATE audit SET id = -1 WHERE id = `, id), fmt.Sprint(`UPDATE audit SET id = `, id, ` WHERE id = `, next), fmt.Sprint(`UPDATE audit SET id = `, next, ` WHERE id = -1`))
		const copied = `at, event, result, reason, client_id, user_name, device, grant_id, chain, number`
		x.found(fmt.Sprint(`INSERT INTO audit (id, `, copied, `, mac) SELECT 100000, `, copied, `, mac FROM audit`, where))
		x.found(fmt.Sprint(`INSERT INTO audit (id, `, copied, `, mac) SELECT -5, `, copied, `, NULL FROM audit`, where))
	}
	x.found(`DELETE FROM audit`)
	x.found(fmt.Sprint(`UPDATE audit SET id = id + 1000 WHERE id = `, ids[0]))
	for i := range numbers(t, db, `SELECT number FROM audit_chains`) {
		where := fmt.Sprint(` WHERE number = `, i+1)
		for _, change := range []string{
			`id = state`, `opened = state`, `pruned_number = pruned_number + 1`, `pruned_link = head_link`, `head_number = head_number - 1`,
			`head_link = pruned_link`, `state = opened`,
		} {
			x.found(`UPDATE audit_chains SET ` + change + where)
		}
		x.found(`DELETE FROM audit_chains` + where)
		x.found(`DELETE FROM audit_chains`+where, fmt.Sprint(`DELETE FROM audit WHERE chain = `, i+1))
	}
	wholeLog(t, "all taken back", store, 21)
}

func numbers(t *testing.T, db Database, query string) (list []int64) {
	t.Helper()
	rows := get(db.Raw.Query(query))(t)
	defer rows.Close()
	for rows.Next() {
		var n int64
		must(t, rows.Scan(&n))
		list = append(list, n)
	}
	must(t, rows.Err())
	return list
}

// What is cut off the end is missed: at once by who kept the heads, else from the next note on.
func truncatedLogIsFound(t *testing.T, db Database) {
	ctx, store := t.Context(), open(t, db)
	for i := range 70 {
		must(t, store.Record(ctx, decision(fmt.Sprint(i))))
	}
	heads := wholeLog(t, "as written", store, 70).Heads
	equal(t, "chains", len(heads), 1)
	equal(t, "commits", heads[0].Number, 70)
	x := tamper(t, db, store)
	x.found(`DELETE FROM audit WHERE number >= 64`)
	x.exec(`DELETE FROM audit WHERE number > 64`)
	wholeLog(t, "after the last note", store, 64)
	brokenLog(t, "by the head that was kept", store, heads...)
	x.undo()
	x.exec(`DELETE FROM audit`, `DELETE FROM audit_chains`, `DELETE FROM counters`)
	wholeLog(t, "with everything that remembers it", store, 0)
	brokenLog(t, "by the head that was kept", store, heads...)
	x.undo()
	wholeLog(t, "taken back", store, 70, heads...)
	must(t, store.Close())
	again := open(t, db)
	y := &tampering{t, db, again}
	y.exec(`DELETE FROM audit WHERE number = 70`)
	brokenLog(t, "once the process had ended", again)
}

// Entries leave by their age, whole commits from the front, and the rest is still whole; taken away by hand they are missed.
func logIsPruned(t *testing.T, db Database) {
	ctx, store := t.Context(), open(t, db)
	second := open(t, db)
	var heads []authz.AuditHead
	for i := range 30 {
		e := decision(fmt.Sprint(i))
		e.At = evening.Add(time.Duration(i) * time.Hour)
		must(t, []authz.Store{store, second}[i%2].Record(ctx, e))
		if i == 9 {
			heads = wholeLog(t, "kept early", store, 10).Heads
		}
	}
	prune := func(hours, limit, want int) {
		t.Helper()
		equal(t, fmt.Sprint("removed before ", hours), get(store.PruneAudit(ctx, evening.Add(time.Duration(hours)*time.Hour), limit))(t), want)
	}
	prune(0, 100, 0)
	prune(10, 4, 4)
	report := wholeLog(t, "a batch pruned", store, 26, heads...)
	equal(t, "pruned", report.Pruned, true)
	prune(10, 100, 6)
	prune(10, 100, 0)
	wholeLog(t, "pruned", store, 20, heads...)
	wholeLog(t, "seen by the other process", second, 20)
	must(t, store.Record(ctx, decision("goes on")))
	wholeLog(t, "goes on", second, 21, heads...)
	prune(10_000, 100, 20) // the newest stays
	wholeLog(t, "all but one pruned", store, 1)
	must(t, second.Record(ctx, decision("goes on")))
	heads = wholeLog(t, "goes on", store, 2, heads...).Heads
	must(t, store.Record(ctx, decision("goes on")))
	wholeLog(t, "goes on", store, 3, heads...)
	if _, err := store.PruneAudit(ctx, time.Time{}, 10); err == nil {
		t.Error("pruned before no time")
	}
	get(db.Raw.Exec(`DELETE FROM audit WHERE id = (SELECT MIN(id) FROM audit)`))(t)
	brokenLog(t, "taken from the front by hand", store)
}

// Entries of before there were chains become the first groups of the first; the log verifies while it is written.
func logOfBefore(t *testing.T, db Database) {
	ctx, first := t.Context(), house(t, db)
	for i := range 150 {
		get(db.Raw.Exec(fmt.Sprint(`INSERT INTO audit (at, event, result, reason, client_id, user_name, device, grant_id)
			SELECT `, i, `, 'old', 'granted', '', '', '', '', id FROM devices`)))(t)
	}
	must(t, first.Close())
	store, second := open(t, db), open(t, db)
	equal(t, "newest entry", get(store.AuditTail(ctx, 1))(t)[0].Event, "audit.adopt")
	wholeLog(t, "adopted", store, 151)
	together(3, func(i int) {
		for n := range 20 {
			if i == 2 {
				if _, err := store.VerifyAudit(ctx); err != nil {
					t.Errorf("while it is written: %v", err)
				}
				continue
			}
			s := spec("")
			s.Grant = pop.GrantID{}
			if err := []authz.Store{store, second}[i].Mint(ctx, s, issue(token(fmt.Sprint(i, " ", n)))); err != nil {
				t.Errorf("mint: %v", err)
			}
		}
	})
	wholeLog(t, "with what was before", store, 191)
	get(db.Raw.Exec(`UPDATE audit SET reason = 'other' WHERE event = 'old' AND at = 120`))(t)
	brokenLog(t, "an old entry changed", second)
}

// A store is closed while others write to it: what was acknowledged is in the log, which is whole.
func closedWhileWriting(t *testing.T, db Database) {
	ctx, store := t.Context(), open(t, db)
	var recorded atomic.Int64
	together(9, func(i int) {
		for n := 0; i < 8; n++ {
			if err := store.Record(ctx, decision(fmt.Sprint(i, " ", n))); err != nil {
				return // closed
			}
			recorded.Add(1)
		}
		for recorded.Load() < 100 {
			runtime.Gosched()
		}
		if err := store.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	report := get(open(t, db).VerifyAudit(ctx))(t)
	if acknowledged := int(recorded.Load()); report.Entries < acknowledged || acknowledged < 100 {
		t.Errorf("%d entries, %d acknowledged", report.Entries, acknowledged)
	}
}

// auditSelection finds entries by each of their parts.
func auditSelection(t *testing.T, db Database) {
	ctx, store := t.Context(), open(t, db)
	var all []authz.AuditEntry
	for i := range 6 {
		e := decision(fmt.Sprint(i))
		e.At = evening.Add(time.Duration(i) * time.Minute)
		switch i {
		case 1:
			e.Client = "tablet"
		case 2:
			e.User = "alice"
		case 3:
			e.Device = "dBBBB"
		case 4:
			e.Event = "login"
		case 5:
			e.Grant = permission(2).ID
		}
		must(t, store.Record(ctx, e))
		all = append(all, e)
	}
	records := get(store.AuditFind(ctx, authz.AuditQuery{Limit: 10}))(t)
	equal(t, "all", len(records), 6)
	for name, tt := range map[string]struct {
		by   authz.AuditQuery
		want []authz.AuditEntry
	}{
		"client":  {authz.AuditQuery{Client: "tablet"}, all[1:2]},
		"user":    {authz.AuditQuery{User: "alice"}, all[2:3]},
		"device":  {authz.AuditQuery{Device: "dBBBB"}, all[3:4]},
		"event":   {authz.AuditQuery{Event: "login"}, all[4:5]},
		"grant":   {authz.AuditQuery{Grant: permission(2).ID}, all[5:]},
		"since":   {authz.AuditQuery{Since: evening.Add(3 * time.Minute)}, all[3:]},
		"after":   {authz.AuditQuery{After: records[3].ID}, all[4:]},
		"both":    {authz.AuditQuery{Event: "login", Since: evening.Add(5 * time.Minute)}, nil},
		"odd":     {authz.AuditQuery{User: "a\x00b"}, nil},
		"limited": {authz.AuditQuery{Client: "phone", Limit: 2}, all[4:]},
	} {
		if tt.by.Limit == 0 {
			tt.by.Limit = 10
		}
		var got []authz.AuditEntry
		for _, r := range get(store.AuditFind(ctx, tt.by))(t) {
			got = append(got, r.AuditEntry)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %+v, want %+v", name, got, tt.want)
		}
	}
}
