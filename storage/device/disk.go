package device

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// disk is what Save needs of a file system. Names are within one directory.
type disk interface {
	read(name string) ([]byte, error)
	write(name string, data []byte) error // replaces the file; durable only after sync
	sync(name string) error               // of the file just written
	rename(from, to string) error         // atomic; durable only after syncDir
	syncDir() error
}

// files is a disk in a directory.
type files struct {
	dir     string
	written *os.File // kept open until sync: errors of write-back are reported to this descriptor only
}

func (f *files) read(name string) ([]byte, error) {
	file, err := os.Open(filepath.Join(f.dir, name))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readAtMost(file, MaxState)
}

func (f *files) write(name string, data []byte) error {
	if f.written != nil { // an earlier Save failed between write and sync
		f.written.Close()
	}
	file, err := os.OpenFile(filepath.Join(f.dir, name), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	f.written = file
	_, err = file.Write(data)
	return err
}

func (f *files) sync(string) error {
	file := f.written
	f.written = nil
	return errors.Join(file.Sync(), file.Close())
}

func (f *files) rename(from, to string) error {
	return os.Rename(filepath.Join(f.dir, from), filepath.Join(f.dir, to))
}

func (f *files) syncDir() error {
	dir, err := os.Open(f.dir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func readAtMost(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("longer than %d bytes", limit)
	}
	return data, nil
}
