package storage

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
)

// StoreKey seals what rests in a store. It prints as [redacted].
type StoreKey [32]byte

const redacted = "[redacted]"

// Format hides the key from every verb.
func (StoreKey) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// LogValue hides the key from logs.
func (StoreKey) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText hides the key from encoders.
func (StoreKey) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LoadOrCreateKey reads the key file, making one (32 random bytes, mode 0600) if there is none. A new key is on the
// disk, file and name, when it returns; of two processes that start at once both get the same one. A file that others
// can read is refused: its key may be known.
func LoadOrCreateKey(path string) (StoreKey, error) {
	key, err := loadKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := createKey(path); err != nil && !errors.Is(err, fs.ErrExist) {
			return StoreKey{}, fmt.Errorf("make store key: %w", err)
		}
		key, err = loadKey(path)
	}
	if err != nil {
		return StoreKey{}, fmt.Errorf("store key: %w", err)
	}
	return key, nil
}

// LoadKey is LoadOrCreateKey for those who only look: a key that is not there stays so.
func LoadKey(path string) (StoreKey, error) {
	key, err := loadKey(path)
	if err != nil {
		return StoreKey{}, fmt.Errorf("store key: %w", err)
	}
	return key, nil
}

func loadKey(path string) (StoreKey, error) {
	f, err := os.Open(path)
	if err != nil {
		return StoreKey{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return StoreKey{}, err
	case !info.Mode().IsRegular():
		return StoreKey{}, fmt.Errorf("%s is not a file", path)
	case info.Mode().Perm()&0o077 != 0:
		return StoreKey{}, fmt.Errorf("%s can be read by others (mode %04o): run chmod 600 %s", path, info.Mode().Perm(), path)
	}
	var key StoreKey
	if info.Size() != int64(len(key)) {
		return StoreKey{}, fmt.Errorf("%s has %d bytes, a store key has %d", path, info.Size(), len(key))
	}
	_, err = io.ReadFull(f, key[:])
	return key, err
}

func createKey(path string) error {
	var key StoreKey
	if _, err := rand.Read(key[:]); err != nil {
		return err
	}
	return writeKey(path, key)
}

// PutKey makes the key file of a restored store; made is false where it is there already. A file with another key is left
// alone and refused.
func PutKey(path string, key StoreKey) (made bool, err error) {
	err = writeKey(path, key)
	if !errors.Is(err, fs.ErrExist) {
		return err == nil, err
	}
	there, err := loadKey(path)
	if err == nil && subtle.ConstantTimeCompare(there[:], key[:]) != 1 {
		err = fmt.Errorf("%s is the key of another store: give a new folder", path)
	}
	return false, err
}

// writeKey writes a file of its own and links it to the name, which fails if the name is taken: a key that is
// already in use is never replaced, and nobody sees half of one.
func writeKey(path string, key StoreKey) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".key-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(key[:])
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// syncFolder makes a new name durable.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
