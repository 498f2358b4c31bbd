package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// File is a file on its way: nobody sees it under its name before Commit, and nobody but its owner can read it.
type File struct {
	*os.File
	path string
}

// Create begins a file beside its final place. A name that is taken is refused at once, and again by Commit.
func Create(path string) (*File, error) {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = fmt.Errorf("%s exists, and a backup is never written over: give another name", path)
		}
		return nil, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".backup-*") // mode 0600
	if err != nil {
		return nil, err
	}
	return &File{f, path}, nil
}

// Commit makes the file durable and gives it its name.
func (f *File) Commit() error {
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return Publish(f.Name(), f.path)
}

// Discard removes what was written. After Commit it does nothing.
func (f *File) Discard() {
	_ = f.Close()
	_ = os.Remove(f.Name())
}

// Publish gives a durable file its final name, which must be free, and takes the old one away.
func Publish(from, to string) error {
	if err := os.Link(from, to); err != nil {
		return err
	}
	if err := os.Remove(from); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
