// Package device is the resource.Store of a device with a file system: one small file, replaced as a whole.
//
// Save writes a new file, flushes it, renames it over the old one and flushes the directory, two flushes in all, so that
// a power cut at any moment leaves the old state or the new one. The file carries its SHA-256; one that does not match is
// refused with advice and never reset by itself, because a lock that forgets what was used or revoked opens again. It
// does not encrypt: the directory is readable by its owner alone. Start from Open; Clock is the matching resource.Clock.
package device

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/latchkey-ace/latchkey/resource"
)

const (
	stateFile = "state"
	newFile   = "state.new"
	lockFile  = "lock"
)

// ErrInUse says that another process has the directory open.
var ErrInUse = errors.New("in use by another process")

// ErrDamaged says that the state file is not what was written.
var ErrDamaged = errors.New("state file damaged")

// Store is a resource.Store in a directory. It is safe for concurrent use.
type Store struct {
	mu   sync.Mutex
	dir  string
	disk disk
	lock *os.File
}

var _ resource.Store = (*Store)(nil)

// Open takes the directory for this process, creating it with mode 0700. A directory that others may enter, one that
// another process holds (ErrInUse) and a damaged state (ErrDamaged) are refused. The caller closes the store.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("state directory %s is open to others: run chmod 700 %s", dir, dir)
	}
	lock, err := acquire(filepath.Join(dir, lockFile))
	if err != nil {
		return nil, fmt.Errorf("state directory %s: %w", dir, err)
	}
	s := &Store{dir: dir, disk: &files{dir: dir}, lock: lock}
	if _, err := s.Load(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// acquire holds the lock file as long as it stays open; the kernel lets go of it when the process dies.
func acquire(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrInUse
		}
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Load implements resource.Store.
func (s *Store) Load() (resource.State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, err := s.disk.read(stateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return resource.State{}, nil
	}
	if err != nil {
		return resource.State{}, fmt.Errorf("read state: %w", err)
	}
	state, err := decode(data)
	if err != nil {
		// An older state would protect other messages with numbers and keys that were used since.
		return resource.State{}, fmt.Errorf("%s: %w; do not restore it from a copy; if what it held may be forgotten, "+
			"raise the device's epoch at the server, then move the file away", filepath.Join(s.dir, stateFile), err)
	}
	return state, nil
}

// Save implements resource.Store.
func (s *Store) Save(state resource.State) error {
	data, err := encode(state)
	if err != nil {
		return fmt.Errorf("encode state: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	steps := []func() error{
		func() error { return s.disk.write(newFile, data) },
		func() error { return s.disk.sync(newFile) },
		func() error { return s.disk.rename(newFile, stateFile) },
		s.disk.syncDir,
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("save state: %w", err)
		}
	}
	return nil
}

// Close lets another process open the directory.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lock.Close()
}
