package postgres_test

import (
	"database/sql"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/storage/backup/backuptest"
	"github.com/latchkey-ace/latchkey/storage/storagetest"
	"github.com/latchkey-ace/latchkey/storage/storagetest/pgtest"
)

// F13.
func TestPromotedStandby(t *testing.T) {
	primary := pgtest.Own(t)
	database := func(url string) storagetest.Database {
		raw, err := sql.Open("pgx", url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { raw.Close() })
		return storagetest.Database{URL: url, Raw: raw}
	}
	first := database(primary.URL)
	backuptest.Failover(t, first, func(live func()) storagetest.Database {
		standby := primary.Standby()
		standby.Start()
		follows(t, first.Raw)
		standby.Stop()
		live()
		primary.Stop()
		standby.Start()
		standby.Promote()
		return database(standby.URL)
	})
}

// follows waits until a standby has written down all there is.
func follows(t *testing.T, primary *sql.DB) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var n int
		err := primary.QueryRow(`SELECT count(*) FROM pg_stat_replication WHERE flush_lsn >= pg_current_wal_lsn()`).Scan(&n)
		if err == nil && n > 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("no standby follows: %v", err)
		}
	}
}
