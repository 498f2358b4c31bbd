package gatt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
)

const socketMode = 0o600 // only this device's user is within radio range

var (
	errSocketPath = errors.New("needs a path in the file system")
	errInUse      = errors.New("another process answers there")
	errNotSocket  = errors.New("something that is not a socket is there")
	errChanged    = errors.New("another process is starting there")
)

// Listen is the unix socket that stands for the radio, with mode 0600. A socket left at path by a process that was killed
// is replaced; one that answers, and anything that is not a socket, is not. Closing the listener removes it.
func Listen(path string) (net.Listener, error) {
	if path == "" || strings.HasPrefix(path, "@") { // abstract sockets have no mode
		return nil, fmt.Errorf("listen on %q: %w", path, errSocketPath)
	}
	l, err := listen(path)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return l, err
	}
	if err := removeStale(path); err != nil {
		return nil, fmt.Errorf("listen on %q: %w", path, err)
	}
	return listen(path)
}

func listen(path string) (net.Listener, error) {
	// The mode of the descriptor becomes the mode of the file as it is bound (Linux), so there is no moment in which
	// others could connect.
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { syscall.Fchmod(int(fd), socketMode) })
	}}
	l, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, socketMode); err != nil { // for systems where the descriptor has no mode
		l.Close()
		return nil, err
	}
	return l, nil
}

func removeStale(path string) error {
	before, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if before.Mode().Type() != os.ModeSocket {
		return errNotSocket
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
		return errInUse
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	now, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !os.SameFile(before, now) {
		return errChanged
	}
	return os.Remove(path)
}
