package device

import (
	"errors"
	"os"
	"path/filepath"
)

// WriteFile replaces the file at path, readable by its owner alone: after nil the new content survives a power cut, after
// an error the file holds the old or the new content, never a mixture.
func WriteFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return (&files{dir: filepath.Dir(path)}).syncDir()
}
