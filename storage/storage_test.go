package storage_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/storage"
)

func TestKeyIsMadeOnceAndReadAgain(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "store.key")
	first, err := storage.LoadOrCreateKey(path)
	if err != nil {
		t.Fatal(err)
	}
	if first == (storage.StoreKey{}) {
		t.Error("the key is all zero")
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() != 32 {
		t.Errorf("got mode %v, size %d, %v, want 0600 and 32", info.Mode(), info.Size(), err)
	}
	if second, err := storage.LoadOrCreateKey(path); err != nil || second != first {
		t.Errorf("read again: another key, or %v", err)
	}
	if other, err := storage.LoadOrCreateKey(filepath.Join(folder, "other.key")); err != nil || other == first {
		t.Errorf("another file: the same key, or %v", err)
	}
	if files, err := os.ReadDir(folder); err != nil || len(files) != 2 {
		t.Errorf("got %d files, %v, want 2: something was left behind", len(files), err)
	}
}

func TestProcessesThatStartAtOnceGetOneKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.key")
	keys := make([]storage.StoreKey, 16)
	var all sync.WaitGroup
	for i := range keys {
		all.Go(func() {
			var err error
			if keys[i], err = storage.LoadOrCreateKey(path); err != nil {
				t.Errorf("key: %v", err)
			}
		})
	}
	all.Wait()
	for i := range keys {
		if keys[i] != keys[0] {
			t.Errorf("key %d differs from key 0", i)
		}
	}
}

func TestKeyFilesThatAreRefused(t *testing.T) {
	good := bytes.Repeat([]byte{7}, 32)
	tests := []struct {
		name string
		data []byte
		mode os.FileMode
		says string
	}{
		{"group may read", good, 0o640, "chmod 600"},
		{"others may read", good, 0o604, "chmod 600"},
		{"group may write", good, 0o620, "chmod 600"},
		{"empty", nil, 0o600, "0 bytes"},
		{"one byte short", good[:31], 0o600, "31 bytes"},
		{"one byte long", append(good, 7), 0o600, "33 bytes"},
		{"a line end was added", append(good, '\n'), 0o600, "33 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store.key")
			if err := os.WriteFile(path, tt.data, tt.mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, tt.mode); err != nil { // whatever the umask
				t.Fatal(err)
			}
			_, err := storage.LoadOrCreateKey(path)
			if err == nil || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), path) {
				t.Errorf("got error %v, want one that says %q and names the file", err, tt.says)
			}
			if data, _ := os.ReadFile(path); !bytes.Equal(data, tt.data) {
				t.Error("the file was changed")
			}
		})
	}
	for _, path := range []string{t.TempDir(), filepath.Join(t.TempDir(), "missing", "store.key")} {
		if _, err := storage.LoadOrCreateKey(path); err == nil {
			t.Errorf("%s: accepted", path)
		}
	}
}

func TestKeyIsNeverPrinted(t *testing.T) {
	key := storage.StoreKey(bytes.Repeat([]byte{0xAB}, 32))
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("open", "key", key, "options", storage.Options{Key: key})
	slog.New(slog.NewTextHandler(&log, nil)).Info("open", "key", key, "options", storage.Options{Key: key})
	encoded, err := json.Marshal(map[string]any{"key": key})
	if err != nil {
		t.Fatal(err)
	}
	printed := []string{log.String(), string(encoded)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%c"} {
		printed = append(printed, fmt.Sprintf(verb, key), fmt.Sprintf(verb, &key), fmt.Sprintf(verb, storage.Options{Key: key}))
	}
	for _, text := range printed {
		for _, shown := range []string{"171", "abab", "ABAB", "\xab", "q6ur"} {
			if strings.Contains(text, shown) {
				t.Errorf("the key shows in %q", text)
			}
		}
	}
}

func TestURLs(t *testing.T) {
	key := storage.StoreKey{1}
	path := filepath.Join(t.TempDir(), "store.db")
	tests := []struct {
		name, url, says string
		key             storage.StoreKey
	}{
		{"nothing", "", "neither", key},
		{"a bare path", path, "neither", key},
		{"another engine", "mysql://localhost/x", "neither", key},
		{"no path", "sqlite:", "no path", key},
		{"a folder that does not exist", "sqlite:" + filepath.Join(path, "x", "y.db"), "open", key},
		{"a folder", "sqlite:" + filepath.Dir(path), "open", key},
		{"no key", "sqlite:" + path, "no store key", storage.StoreKey{}},
		{"a URL that cannot be read", "postgres://u:tell-nobody@host:port/x", "cannot be read", key},
		{"a server that is not there", "postgres://u:tell-nobody@127.0.0.1:1/x", "open PostgreSQL", key},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			store, err := storage.Open(t.Context(), tt.url, storage.Options{Key: tt.key})
			if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "tell-nobody") {
				t.Errorf("got error %v, want one that says %q", err, tt.says)
			}
			if store != nil {
				t.Errorf("got a store: %v", store)
			}
		})
	}
}

func TestOtherFilesAreNotTakenForStores(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notes.txt")
	if err := os.WriteFile(path, []byte(strings.Repeat("not a database\n", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	if _, err := storage.Open(t.Context(), "sqlite:"+path, storage.Options{Key: storage.StoreKey{1}}); err == nil {
		t.Error("a text file was opened")
	}
	if data, err := os.ReadFile(path); err != nil || !strings.HasPrefix(string(data), "not a database") {
		t.Errorf("the file was changed: %v", err)
	}
	if took := time.Since(before); took > 5*time.Second {
		t.Errorf("it took %v to say so", took)
	}
}
