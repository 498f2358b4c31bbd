package device

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// ReadSecretFile reads a file that must be readable by its owner alone. Symbolic links, special files, files that group
// or others may read and files longer than MaxSecret are refused, with the command that cures it.
func ReadSecretFile(path string) ([]byte, error) {
	// Without O_NONBLOCK a named pipe in the file's place would hold the program for ever.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, fmt.Errorf("%s is a symbolic link: give the file itself", path)
	}
	if err != nil {
		return nil, fmt.Errorf("secret file: %w", err)
	}
	defer f.Close()
	// The open file is looked at, not the path, which may have changed in between.
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("secret file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s can be read by others: run chmod 600 %s", path, path)
	}
	data, err := readAtMost(f, MaxSecret)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return data, nil
}
