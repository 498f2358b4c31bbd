package console

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const password = "correct horse battery"

func TestPasswords(t *testing.T) {
	stored, err := HashPassword(password)
	if err != nil {
		t.Fatal(err)
	}
	again, err := HashPassword(password)
	if err != nil || again == stored || !strings.HasPrefix(stored, phcPrefix) || strings.Contains(stored, password) {
		t.Errorf("stored as %q and %q, %v", stored, again, err)
	}
	for _, typed := range []string{password, password + " ", " " + password, password[1:], strings.ToUpper(password), "", password + "\x00"} {
		ok, err := checkPassword(stored, typed)
		if err != nil || ok != (typed == password) {
			t.Errorf("%q: got %v, %v", typed, ok, err)
		}
	}
}

func TestPasswordLength(t *testing.T) {
	for n, ok := range map[int]bool{0: false, MinPassword - 1: false, MinPassword: true, MaxPassword: true, MaxPassword + 1: false} {
		if _, err := HashPassword(strings.Repeat("x", n)); (err == nil) != ok || err != nil && !errors.Is(err, ErrPasswordLength) {
			t.Errorf("%d bytes: got %v", n, err)
		}
	}
}

// TestDamagedHashes: what we did not write is a fault, never a match, and quotes nothing of itself.
func TestDamagedHashes(t *testing.T) {
	stored, err := HashPassword(password)
	if err != nil {
		t.Fatal(err)
	}
	hash := stored[strings.LastIndexByte(stored, '$')+1:]
	for name, bad := range map[string]string{
		"empty": "", "plain": password, "other parameters": strings.Replace(stored, "t=2", "t=1", 1), "argon2i": strings.Replace(stored, "argon2id", "argon2i", 1),
		"no hash": strings.TrimSuffix(stored, "$"+hash), "an empty hash": strings.TrimSuffix(stored, hash), "half a hash": stored[:len(stored)-20],
		"a long hash": stored + "AAAA", "salt that is no base64": phcPrefix + "!!$" + hash, "hash that is no base64": strings.TrimSuffix(stored, hash) + "!!",
	} {
		ok, err := checkPassword(bad, password)
		if ok || !errors.Is(err, errPasswordHash) || strings.Contains(err.Error(), hash) {
			t.Errorf("%s: got %v, %v", name, ok, err)
		}
	}
}

// TestHashingIsBounded: never more than so many at once, and who has gone does not wait for a place.
func TestHashingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := make(hashing, parallelHashes)
		var now, most atomic.Int32
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				err := h.run(t.Context(), func() {
					n := now.Add(1)
					for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
					}
					time.Sleep(time.Second)
					now.Add(-1)
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := h.run(ctx, func() { t.Error("it ran") }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		all.Wait()
		if most.Load() != parallelHashes {
			t.Errorf("%d at once, want %d", most.Load(), parallelHashes)
		}
	})
}

// TestNobodysHash: it is hashed against like any other, and no two servers have the same.
func TestNobodysHash(t *testing.T) {
	if ok, err := checkPassword(nobodysHash(), password); ok || err != nil {
		t.Errorf("got %t, %v", ok, err)
	}
	if first, second := nobodysHash(), nobodysHash(); first == second {
		t.Error("twice the same")
	}
}
