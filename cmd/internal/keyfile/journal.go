package keyfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/latchkey-ace/latchkey/pop/oscore"
)

// Role is one end of a context. Each has a sender key of its own, and so sequence numbers of its own.
type Role string

// The roles; they end the names of journals.
const (
	AsClient Role = "client"
	AsServer Role = "server"
)

// Journal is the sequence journal of one role beside a key file: PATH.client.seq or PATH.server.seq.
type Journal struct {
	*oscore.Journal
	New  bool // no run before this one, so the replay window is empty and not lost
	file *os.File
}

// OpenJournal opens the journal of the key file at path, or begins one, and locks it: two runs at once would use the same
// numbers. A damaged journal is an error, because the numbers used are unknown then.
func OpenJournal(path string, role Role) (*Journal, error) {
	name := path + "." + string(role) + ".seq"
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, fmt.Errorf("sequence journal: %w", err)
	}
	j, err := lockJournal(f)
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return j, nil
}

func lockJournal(f *os.File) (*Journal, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.New("another run uses these keys in the same role: let it end first")
	}
	if info, err = f.Stat(); err != nil { // another run may have begun it before we had the lock
		return nil, err
	}
	j := &Journal{New: info.Size() == 0, file: f}
	if !j.New {
		j.Journal, err = oscore.OpenJournal(f)
		return j, err
	}
	if j.Journal, err = oscore.CreateJournal(f); err != nil {
		return nil, err
	}
	return j, syncFolder(filepath.Dir(f.Name()))
}

// syncFolder makes the entry of a new file durable: a journal lost in a power cut would begin at 0 again.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Close ends the use of the journal; another run may follow.
func (j *Journal) Close() error { return j.file.Close() }
