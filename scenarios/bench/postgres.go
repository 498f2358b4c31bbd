package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey-ace/latchkey/storage/storagetest/pgtest"
)

const (
	postgresPart = "Server on PostgreSQL, each token durable with its audit entry; the floor is a commit of one row over 16 connections"
	inquiryGoal  = 210.0 // µs of server and database for an introspection
	crowdSize    = 160   // ten times the connections that the server has to the database
)

// postgres measures the real program on a database of its own, on the same two cores.
func (b *bench) postgres(ctx context.Context) error {
	db, err := pgtest.NewCluster()
	if err != nil {
		return err
	}
	defer db.Close()
	bare, err := b.bareCommits(ctx, db.URL, 16)
	if err != nil {
		return err
	}
	s, err := b.newStand(ctx, "postgres", db.URL)
	if err != nil {
		return err
	}
	defer s.stop()
	before, began := ownTime(), time.Now()
	got, cpu, err := b.withDatabase(ctx, s, db, s.token("monitor"))
	if err != nil {
		return err
	}
	own := float64((ownTime() - before).Microseconds()) * b.span.Seconds() / time.Since(began).Seconds() / float64(len(got.took)) // it warms up too
	b.table.add(
		row{Part: postgresPart, What: "signed token, 16 connections", Figure: got.rate, Unit: "/s", Floor: bare.rate, Bare: "commits"}.atLeastTimes(0.4),
		row{Part: postgresPart, What: "signed token, 16 connections, p99", Figure: got.took.at(0.99) / 1000, Unit: "ms", Floor: bare.took.at(0.99) / 1000, Bare: "commit"}.atMostTimes(5),
		row{Part: postgresPart, What: "signed token, CPU of the server", Figure: got.cpu, Unit: "µs", More: "database " + short(cpu-got.cpu) + " µs, driver " + short(own) + " µs"},
		row{Part: postgresPart, What: "what bounds it: as many as all cores could", Figure: float64(runtime.NumCPU()) * 1e6 / (cpu + own), Unit: "/s", Floor: bare.rate, Bare: "commits"},
	)
	for _, connections := range []int{crowdSize, 256} {
		if err := b.crowd(ctx, s, postgresPart, s.token("monitor"), connections); err != nil {
			return err
		}
	}
	ask, err := s.inquiry(ctx)
	if err != nil {
		return err
	}
	asked, cpu, err := b.withDatabase(ctx, s, db, ask)
	if err != nil {
		return err
	}
	b.table.add(row{
		Part: postgresPart, What: "introspection, 16 connections, CPU of server and database", Figure: cpu, Unit: "µs", More: short(asked.rate) + "/s, server " + short(asked.cpu) + " µs",
	}.atMost(inquiryGoal))
	return nil
}

// withDatabase is a load with 16 connections and the CPU of each request in server and database together.
func (b *bench) withDatabase(ctx context.Context, s *stand, db *pgtest.Cluster, r request) (load, float64, error) {
	before, began := familyTime(db.PID), time.Now()
	got, err := b.load(ctx, s.process, r, 16)
	if err != nil {
		return got, 0, err
	}
	// load warms up before it counts, which the database has worked for too.
	used := float64((familyTime(db.PID) - before).Microseconds()) * b.span.Seconds() / time.Since(began).Seconds()
	return got, got.cpu + used/float64(len(got.took)), nil
}

// familyTime is what a process, its children and those of them that have ended have used.
func familyTime(pid int) time.Duration {
	ticks := statOf(pid, 0).used(4)
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, folder := range all {
		child, err := strconv.Atoi(filepath.Base(folder))
		if err == nil {
			ticks += statOf(child, pid).used(2)
		}
	}
	return time.Duration(ticks) * tick
}

// stat is what follows the name in /proc/PID/stat: state, parent …
type stat []string

// statOf is nil for a process that is gone, or not a child of parent; 0 is anyone's.
func statOf(pid, parent int) stat {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	_, after, _ := strings.Cut(string(text), ") ") // the name in parentheses may hold anything
	fields := strings.Fields(after)
	if len(fields) < 15 || parent != 0 && fields[1] != strconv.Itoa(parent) {
		return nil
	}
	return fields
}

// used are the ticks of the first n of: own, own in the kernel, ended children's, theirs in the kernel.
func (s stat) used(n int) (ticks int64) {
	if s == nil {
		return 0
	}
	for _, field := range s[11 : 11+n] {
		more, _ := strconv.ParseInt(field, 10, 64) // of the kernel's making
		ticks += more
	}
	return ticks
}

// bareCommits inserts one row a transaction over n connections.
func (b *bench) bareCommits(ctx context.Context, url string, n int) (load, error) {
	db, err := sql.Open("pgx", url)
	if err != nil {
		return load{}, err
	}
	defer db.Close()
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	if _, err := db.ExecContext(ctx, "CREATE TABLE bare (hash BYTEA NOT NULL PRIMARY KEY, data BYTEA NOT NULL)"); err != nil {
		return load{}, err
	}
	defer db.ExecContext(ctx, "DROP TABLE bare")
	data := make([]byte, 250)
	return b.busy(n, func() error {
		_, err := db.ExecContext(ctx, "INSERT INTO bare (hash, data) VALUES ($1, $2)", random(32), data)
		return err
	})
}
