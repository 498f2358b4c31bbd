package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// Names of rows of meta.
const (
	metaKey      = "store-key"
	metaRestored = "restored" // when the backup was made, RFC 3339; there until recover
)

// guard is an Engine that refuses to write to a store that was restored, until it has been recovered. No process that has
// a store open can see it become restored, because only an empty one does; that it is recovered is seen at the next write.
type guard struct {
	Engine
	restored atomic.Bool
}

// Commit is refused while the store is restored. The guard's own engine commits in any case.
func (g *guard) Commit(ctx context.Context, t Transaction) error {
	if !g.restored.Load() {
		return g.Engine.Commit(ctx, t)
	}
	work := t.Work
	t.Work = func(ctx context.Context, q Querier) error {
		made, err := restored(ctx, q)
		if err != nil {
			return err
		}
		if !made.IsZero() {
			return authz.ErrRestored
		}
		g.restored.Store(false)
		return work(ctx, q)
	}
	return g.Engine.Commit(ctx, t)
}

func restored(ctx context.Context, q Querier) (made time.Time, err error) {
	var text []byte
	err = one(ctx, q, ask(`SELECT value FROM meta WHERE name = $1`, metaRestored), &text)
	if errors.Is(err, authz.ErrNotFound) {
		return time.Time{}, nil
	}
	if err == nil {
		made, err = time.Parse(time.RFC3339, string(text))
	}
	if err == nil && made.IsZero() {
		err = errors.New("no time")
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("mark of a restored store: %w", err)
	}
	return made, nil
}

// MarkRestored is the end of a restore, in its transaction: from now on the store is only read.
func MarkRestored(ctx context.Context, q Querier, made time.Time) error {
	return run(ctx, q, ask(`INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value`,
		metaRestored, []byte(made.UTC().Format(time.RFC3339))))
}

// Restored is when the backup was made that the store came from.
func (s *Store) Restored(ctx context.Context) (time.Time, error) {
	return restored(ctx, s.engine.Reader())
}

// points are the values that Recover moves to.
type points struct {
	at    int64 // unix milliseconds
	value int64 // of sequences and counters
	epoch int64
}

// recovery is what Recover does to each table, in this order. Every table is named: who adds one decides here what becomes
// of its rows when the store has gone back to an earlier day.
var recovery = []struct {
	table string
	text  string // "" keeps the rows
	args  func(points) []any
	count func(*authz.Recovery) *int64
}{
	{"codes", `DELETE FROM codes`, none, func(r *authz.Recovery) *int64 { return &r.Codes }},
	{"requests", `DELETE FROM requests`, none, func(r *authz.Recovery) *int64 { return &r.Codes }},
	{"device_codes", `DELETE FROM device_codes`, none, func(r *authz.Recovery) *int64 { return &r.Codes }},
	{"logins", `DELETE FROM logins`, none, func(r *authz.Recovery) *int64 { return &r.Logins }},
	{"invitations_to_register", `DELETE FROM invitations_to_register`, none, func(r *authz.Recovery) *int64 { return &r.Invited }},
	{"families", `UPDATE families SET revoked_at = $1, material = NULL WHERE revoked_at = 0 AND ends_at > $1`, now,
		func(r *authz.Recovery) *int64 { return &r.Refresh }},
	// A token that was revoked since would be live again wherever somebody asks this server instead of the device.
	{"tokens", `UPDATE tokens SET revoked_at = $1, claims = NULL WHERE revoked_at = 0 AND expires_at > $1`, now,
		func(r *authz.Recovery) *int64 { return &r.Tokens }},
	{"devices", `UPDATE devices SET epoch = CASE WHEN epoch >= $1 THEN epoch + 1 ELSE $1 END`,
		func(p points) []any { return []any{p.epoch} }, func(r *authz.Recovery) *int64 { return &r.Devices }},
	{"devices", `UPDATE devices SET log_wanted = $1 WHERE delivery = '` + string(authz.DeliveryPush) + `'`, now,
		func(r *authz.Recovery) *int64 { return &r.Logs }},
	// Those that began after the backup are not in it, and have to be above what they had come to all the same.
	{"sequences", `INSERT INTO sequences (device_id, kind, value) SELECT id, '` + authz.SequenceEXI + `', $1 FROM devices WHERE TRUE
		ON CONFLICT DO NOTHING`, value, nil},
	{"sequences", `INSERT INTO sequences (device_id, kind, value) SELECT id, '` + authz.SequenceNews + `', $1 FROM devices WHERE TRUE
		ON CONFLICT DO NOTHING`, value, nil},
	{"sequences", `UPDATE sequences SET value = CASE WHEN value >= $1 THEN value + 1 ELSE $1 END`, value, nil},
	{"counters", `DELETE FROM counters WHERE name = '` + counterClock + `'`, none, nil},
	{"counters", `INSERT INTO counters (name, value) SELECT '` + counterClock + `', MAX(value) >> 20 FROM sequences HAVING MAX(value) IS NOT NULL`, none, nil},
	// The revocation list begins anew. Its floor is above all that any requester has seen, so each asks for the whole.
	{"trl_updates", `DELETE FROM trl_updates`, none, nil},
	{"counters", `INSERT INTO counters (name, value) VALUES ('` + counterTRL + `', $1), ('` + counterTRLFloor + `', $1)
		ON CONFLICT (name) DO NOTHING`, value, nil},
	{"counters", `UPDATE counters SET value = CASE WHEN value >= $1 THEN value + 1 ELSE $1 END
		WHERE name IN ('` + counterTRL + `', '` + counterTRLFloor + `')`, value, nil},
	{"counters", `UPDATE counters SET value = (SELECT MAX(value) FROM counters WHERE name IN ('` + counterTRL + `', '` + counterTRLFloor + `'))
		WHERE name IN ('` + counterTRL + `', '` + counterTRLFloor + `')`, none, nil},
	{"leases", `DELETE FROM leases`, none, nil},
	{"instances", `DELETE FROM instances`, none, nil}, // their counts went back: each shows itself anew
	{"meta", `DELETE FROM meta WHERE name = '` + metaRestored + `'`, none, nil},

	{table: "audit"},        // what was decided
	{table: "changed"},      // goes on: entries in memory are of before
	{table: "audit_chains"}, // and the chains of it, which go on; their counter is their register's length
	{table: "client_keys"},  // keys that were used stay used
	{table: "clients"},      // as they were
	{table: "grants"},       // as they were: their owners look through them
	{table: "outbox"},       // what was not confirmed still has to be told, though the new epoch says more
	{table: "peers"},        // of clients and devices
	{table: "materials"},    // as peers
	{table: "signing_keys"}, // as they were
	{table: "users"},        // as they were
	{table: "uses"},         // what was used stays used
}

func none(points) []any    { return nil }
func now(p points) []any   { return []any{p.at} }
func value(p points) []any { return []any{p.value} }

// Recover makes a store that went back good again.
func (s *Store) Recover(ctx context.Context, audit authz.AuditEntry, now time.Time) (r authz.Recovery, err error) {
	at, err := moment(now)
	if err != nil {
		return r, fmt.Errorf("recover: %w", err)
	}
	ahead := now.Add(recoverAhead).Unix()
	p := points{at: at, value: ahead << perSecond, epoch: ahead}
	err = s.open().Write(ctx, func(ctx context.Context, q Querier) error {
		r = authz.Recovery{} // the transaction may be repeated
		return s.recover(ctx, q, p, audit, &r)
	})
	if err != nil {
		return authz.Recovery{}, fmt.Errorf("recover: %w", err)
	}
	return r, nil
}

func (s *Store) recover(ctx context.Context, q Querier, p points, audit authz.AuditEntry, r *authz.Recovery) (err error) {
	if err = s.enter(ctx, q, alone); err != nil {
		return err
	}
	if r.Made, err = restored(ctx, q); err != nil {
		return err
	}
	var newest *int64
	if err = one(ctx, q, ask(`SELECT MAX(value) FROM sequences`), &newest); err != nil {
		return err
	}
	if newest != nil && p.at/1000+int64(clockStep/time.Second) < *newest>>perSecond {
		return authz.ErrClockStepped // the values would not reach those that were given out
	}
	for _, step := range recovery {
		if step.text == "" {
			continue
		}
		result, err := q.ExecContext(ctx, step.text, step.args(p)...)
		if err != nil {
			return fmt.Errorf("%s: %w", step.table, err)
		}
		n, err := result.RowsAffected()
		if err != nil {
			return fmt.Errorf("%s: %w", step.table, err)
		}
		if step.count != nil {
			*step.count(r) += n
		}
	}
	record(q, &audit)
	return nil
}

// Recovers reports whether Recover knows what to do with a table.
func Recovers(table string) bool {
	for _, step := range recovery {
		if step.table == table {
			return true
		}
	}
	return false
}

// LogWanted is when a device's log was wanted.
func (s *Store) LogWanted(ctx context.Context, device provision.DeviceID) (wanted time.Time, err error) {
	if err = one(ctx, s.engine.Reader(), ask(`SELECT log_wanted FROM devices WHERE id = $1`, device[:]), (*when)(&wanted)); err != nil {
		err = fmt.Errorf("device %q: %w", provision.Audience(device), err)
	}
	return wanted, err
}

// LogRead notes that a log has been read.
func (s *Store) LogRead(ctx context.Context, device provision.DeviceID, wanted time.Time) error {
	err := s.engine.Write(ctx, func(ctx context.Context, q Querier) error {
		return run(ctx, q, ask(`UPDATE devices SET log_wanted = 0 WHERE id = $1 AND log_wanted = $2`, device[:], ms(wanted)))
	})
	if err != nil {
		return fmt.Errorf("device %q: %w", provision.Audience(device), err)
	}
	return nil
}

// open is the engine for what is written in a restored store too.
func (s *Store) open() keeping { return keeping{s.guard.Engine} }
