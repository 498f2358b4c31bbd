package sqlite_test

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/storage"
)

const (
	minterPath  = "LATCHKEY_TEST_MINTER" // the database of a child that only mints
	minterFirst = "LATCHKEY_TEST_FIRST"  // the number of its first code
	killRounds  = 5
	perRound    = 1_000_000 // more codes than a child can redeem before it is killed
)

func TestMain(m *testing.M) {
	if path := os.Getenv(minterPath); path != "" {
		mintForever(path)
	}
	os.Exit(m.Run())
}

// mintForever is the child: it redeems codes on several goroutines and prints the hash of each token after Mint has
// returned.
func mintForever(path string) {
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	first, err := strconv.ParseInt(os.Getenv(minterFirst), 10, 64)
	if err != nil {
		fail(err)
	}
	ctx := context.Background()
	store, err := storage.Open(ctx, "sqlite:"+path, storage.Options{Key: storage.StoreKey{1}})
	if err != nil {
		fail(err)
	}
	var all sync.WaitGroup
	for worker := range int64(8) {
		all.Go(func() {
			for n := first + worker; ; n += 8 {
				now := time.Now()
				if err := store.AddCode(ctx, codeFor(n, now), nil); err != nil {
					fail(err)
				}
				if err := redeem(ctx, store, n, now); err != nil {
					fail(err)
				}
				fmt.Printf("%x %d\n", numbered("token", n), n)
			}
		})
	}
	all.Wait()
}

// TestKill kills a minting process at random moments: what it acknowledged is there, and no code gives a second token.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kill.db")
	store := openStore(t, path)
	furnish(t, store)
	store.Close()
	for round := range killRounds {
		acknowledged := mintAndKill(t, path, int64(round)*perRound, time.Duration(20+rand.IntN(130))*time.Millisecond)
		checkAfterKill(t, path, int64(round)*perRound, acknowledged)
	}
}

// mintAndKill runs the child until it has been minting for a time, and returns the codes whose tokens it acknowledged.
func mintAndKill(t *testing.T, path string, first int64, after time.Duration) map[string]int64 {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), minterPath+"="+path, minterFirst+"="+strconv.FormatInt(first, 10))
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	acknowledged := map[string]int64{}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var hash string
		var n int64
		if _, err := fmt.Sscanf(lines.Text(), "%s %d", &hash, &n); err != nil {
			continue // cut off in the middle
		}
		if len(acknowledged) == 0 {
			time.AfterFunc(after, func() { child.Process.Kill() })
		}
		acknowledged[hash] = n
	}
	if err := child.Wait(); child.ProcessState.Exited() {
		t.Fatalf("the child ended by itself: %v", err)
	}
	return acknowledged
}

func checkAfterKill(t *testing.T, path string, first int64, acknowledged map[string]int64) {
	t.Helper()
	store := openStore(t, path)
	defer store.Close()
	tokens, err := store.TokensOf(t.Context(), theDevice, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	stored, fromCode := map[string]bool{}, map[string]int{}
	for _, token := range tokens {
		stored[hex.EncodeToString(token.Hash[1:])] = true
		fromCode[string(token.Code)]++
	}
	audit, err := store.AuditTail(t.Context(), 10_000)
	if err != nil || len(tokens) < 10_000 && len(audit) != len(tokens) {
		t.Errorf("%d tokens and %d audit entries, %v", len(tokens), len(audit), err)
	}
	if report, err := store.VerifyAudit(t.Context()); err != nil || len(audit) < 10_000 && report.Entries != len(audit) {
		t.Errorf("the audit log has %d entries, %v, want %d", report.Entries, err, len(audit))
	}
	for hash, n := range acknowledged {
		if !stored[hash] {
			t.Errorf("token %s was acknowledged and is gone", hash)
		}
		if got := fromCode[string(numbered("code", n))]; got != 1 {
			t.Errorf("%d tokens from code %d, want 1", got, n)
		}
		var spent *authz.CodeSpentError
		if err := redeem(t.Context(), store, n, time.Now()); !errors.As(err, &spent) {
			t.Fatalf("code %d again: got %v, want %T", n, err, spent)
		}
	}
	// What was on its way at the moment of the kill has happened whole or not at all.
	for n := first; n < first+int64(len(acknowledged))+64; n++ {
		code, err := store.Code(t.Context(), numbered("code", n))
		if err == nil && code.ConsumedAt.IsZero() == (fromCode[string(code.Hash)] == 1) {
			t.Errorf("code %d: consumed at %v with %d tokens", n, code.ConsumedAt, fromCode[string(code.Hash)])
		}
	}
	t.Logf("%d tokens acknowledged, %d stored in all", len(acknowledged), len(tokens))
}
