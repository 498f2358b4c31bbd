package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/latchkey-ace/latchkey/storage/storagetest/pgtest"
)

const (
	memoryPart  = "Memory and start of the server on the built-in store"
	millionPart = "With a million live grants; the floor is the same before they were there"
	bearable    = 1.2 // times the cost without them
	readyGoal   = 150.0
	idleGoal    = 40.0
	busyGoal    = 80.0
	grantGoal   = 1024.0 // bytes
)

// memory measures the server at rest, and after a minute of 64 connections.
func (b *bench) memory(ctx context.Context) error {
	s, err := b.newStand(ctx, "memory", "")
	if err != nil {
		return err
	}
	defer func() { s.stop() }()
	started, err := s.ready(ctx)
	if err != nil {
		return err
	}
	idle, err := s.resident()
	if err != nil {
		return err
	}
	minute := *b
	minute.span = 30 * b.span // of the usual two seconds, so that what is told is told of a minute
	if _, err := minute.load(ctx, s.process, s.token("monitor"), 64); err != nil {
		return err
	}
	busy, err := s.resident()
	if err != nil {
		return err
	}
	b.table.add(
		row{Part: memoryPart, What: "start to ready, existing store", Figure: started, Unit: "ms"}.atMost(readyGoal),
		row{Part: memoryPart, What: "resident at rest", Figure: idle, Unit: "MiB"}.atMost(idleGoal),
		row{Part: memoryPart, What: fmt.Sprintf("resident after %v of 64 connections", minute.span), Figure: busy, Unit: "MiB"}.atMost(busyGoal),
	)
	return nil
}

func (s *stand) restart(ctx context.Context) error {
	s.stop()
	return s.start(ctx)
}

// cost is what one kind of work costs, in a unit of its own.
type cost struct {
	what, unit string
	figure     float64
}

// million measures what there is to be measured of the server, gives it a million grants, and measures again.
func (b *bench) million(ctx context.Context) error {
	if err := b.millionEmbedded(ctx); err != nil {
		return err
	}
	return b.millionPostgres(ctx)
}

func (b *bench) millionEmbedded(ctx context.Context) error {
	s, err := b.newStand(ctx, "million", "")
	if err != nil {
		return err
	}
	defer func() { s.stop() }()
	alone := filepath.Join(b.dir, "millionalone.db")
	m, err := b.newMinter(ctx, "sqlite:"+alone)
	if err != nil {
		return err
	}
	defer func() { m.store.Close() }()
	if err := s.restart(ctx); err != nil {
		return err
	}
	before, err := b.costs(ctx, s, m)
	if err != nil {
		return err
	}
	file := filepath.Join(s.dir, "latchkey.db")
	small, smallSize := s.weight(), size(file)
	s.stop()
	m.store.Close()
	for _, path := range []string{file, alone} {
		if err := fill(ctx, "sqlite", "file:"+path, sqliteGrants(b.grants)); err != nil {
			return fmt.Errorf("fill: %w", err)
		}
	}
	if m, err = m.again(ctx, "sqlite:"+alone); err != nil {
		return err
	}
	if err := s.start(ctx); err != nil {
		return err
	}
	after, err := b.costs(ctx, s, m)
	if err != nil {
		return err
	}
	b.compare("", before, after)
	b.table.add(
		row{Part: millionPart, What: "file of the store, each grant", Figure: float64(size(file)-smallSize) / float64(b.grants), Unit: "bytes"}.atMost(grantGoal),
		row{Part: millionPart, What: "resident, each grant", Figure: (s.weight() - small) * (1 << 20) / float64(b.grants), Unit: "bytes"}.atMost(grantGoal),
	)
	return nil
}

// ready is how long a start takes until the server answers, in milliseconds, the median of some.
func (s *stand) ready(ctx context.Context) (float64, error) {
	var all spread
	for range 7 {
		if err := s.restart(ctx); err != nil {
			return 0, err
		}
		all = append(all, s.started)
	}
	return all.at(0.5) / 1000, nil
}

// costs are those of the goals: of a token over HTTP with and without a proof and over CoAP, of an introspection, of the start,
// and of the store alone.
func (b *bench) costs(ctx context.Context, s *stand, m *minter) (all []cost, err error) {
	ask, err := s.inquiry(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range []struct {
		what string
		r    request
		n    int
	}{
		{"signed token, 64 connections, server CPU", s.token("monitor"), 64},
		{"JWT with a fresh DPoP proof, server CPU", s.proved(), 16},
		{"introspection, server CPU", ask, 16},
	} {
		got, err := b.load(ctx, s.process, c.r, c.n)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.what, err)
		}
		all = append(all, cost{c.what, "µs", got.cpu})
	}
	called, err := b.called(ctx, s, "door")
	if err != nil {
		return nil, err
	}
	all = append(all, cost{"Encrypt0 token over CoAP, server CPU", "µs", called.cpu})
	for _, n := range []int{1, 64} {
		got, err := b.mints(ctx, m, n)
		if err != nil {
			return nil, err
		}
		all = append(all, cost{fmt.Sprintf("built-in store alone, %d at a time, time of a token", n), "µs", 1e6 / got.rate})
	}
	ready, err := s.ready(ctx)
	return append(all, cost{"start to ready", "ms", ready}), err
}

func (b *bench) compare(where string, before, after []cost) {
	for i, c := range after {
		b.table.add(row{Part: millionPart, What: where + c.what, Figure: c.figure, Unit: c.unit, Floor: before[i].figure, Bare: "without"}.atMostTimes(bearable))
	}
}

func (b *bench) millionPostgres(ctx context.Context) error {
	db, err := pgtest.NewCluster()
	if err != nil {
		return err
	}
	defer db.Close()
	s, err := b.newStand(ctx, "millionpostgres", db.URL)
	if err != nil {
		return err
	}
	defer func() { s.stop() }()
	ask, err := s.inquiry(ctx)
	if err != nil {
		return err
	}
	measure := func() (all []cost, err error) {
		got, cpu, err := b.withDatabase(ctx, s, db, s.token("monitor"))
		if err != nil {
			return nil, err
		}
		_, asked, err := b.withDatabase(ctx, s, db, ask)
		return []cost{
			{"signed token, time of one", "µs", 1e6 / got.rate}, {"signed token, CPU of server and database", "µs", cpu},
			{"introspection, CPU of server and database", "µs", asked},
		}, err
	}
	before, err := measure()
	if err != nil {
		return err
	}
	s.stop()
	if err := fill(ctx, "pgx", db.URL, postgresGrants(b.grants)); err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	if err := s.start(ctx); err != nil {
		return err
	}
	after, err := measure()
	if err != nil {
		return err
	}
	b.compare("PostgreSQL: ", before, after)
	return nil
}

// grantFields are copied from a grant that the store wrote; each copy has an id and a receiver of its own, and no end.
const grantFields = `, device_id, rights, starts_at, ends_at, once, spent, created_at, revoked_at, confirmed_at, suspended_at, expires_at`

// sqliteGrants adds n grants. The store alone has none to copy.
func sqliteGrants(n int) []string {
	return []string{
		`INSERT INTO grants (id, owner, to_user, to_client` + grantFields + `) SELECT x'0000000000000001', 'alice', 'guest', '', id, x'8182602f01', 0, 0, 0, x'80', 1, 0, 0, 0, 0
			FROM devices WHERE NOT EXISTS (SELECT 1 FROM grants) LIMIT 1`,
		`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ` + strconv.Itoa(n) + `)
			INSERT INTO grants (id, owner, to_user, to_client` + grantFields + `) SELECT randomblob(8), owner, 'guest' || i, ''` + grantFields + `
			FROM (SELECT * FROM grants LIMIT 1), n`,
		`PRAGMA wal_checkpoint(TRUNCATE)`,
	}
}

// postgresGrants adds n grants, without triggers: the server that minds them is stopped.
func postgresGrants(n int) []string {
	return []string{
		`SET session_replication_role = replica`,
		`INSERT INTO grants (id, owner, to_user, to_client` + grantFields + `) SELECT decode('a' || lpad(to_hex(i), 15, '0'), 'hex'), owner, 'guest' || i, ''` + grantFields + `
			FROM (SELECT * FROM grants LIMIT 1) g, generate_series(1, ` + strconv.Itoa(n) + `) i`,
		`VACUUM ANALYZE grants`,
	}
}

func fill(ctx context.Context, driver, name string, statements []string) error {
	db, err := sql.Open(driver, name)
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, s := range statements {
		if _, err := db.ExecContext(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// weight is what is resident once the server has come to rest, in MiB.
func (s *stand) weight() float64 {
	time.Sleep(s.b.span / 4)
	mib, _ := s.resident() // 0 of a server that is gone
	return mib
}

func size(path string) (bytes int64) {
	for _, end := range []string{"", "-wal"} {
		if info, err := os.Stat(path + end); err == nil {
			bytes += info.Size()
		}
	}
	return bytes
}
