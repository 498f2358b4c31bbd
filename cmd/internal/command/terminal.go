package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// ErrNoTerminal says that nobody can be asked.
var ErrNoTerminal = errors.New("standard input is not a terminal")

// ReadHidden asks at a terminal for one line that is not shown, without its end.
func ReadHidden(ctx context.Context, terminal *os.File, w io.Writer, prompt string, limit int) (string, error) {
	fd := int(terminal.Fd())
	usual, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return "", ErrNoTerminal
	}
	hidden := *usual
	hidden.Lflag &^= unix.ECHO
	hidden.Lflag |= unix.ECHONL | unix.ICANON
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &hidden); err != nil {
		return "", fmt.Errorf("hide what is typed: %w", err)
	}
	defer func() { _ = unix.IoctlSetTermios(fd, unix.TCSETS, usual) }()
	if _, err := io.WriteString(w, prompt); err != nil {
		return "", err
	}
	type answer struct {
		text string
		err  error
	}
	typed := make(chan answer, 1)
	go func() {
		text, err := ReadLine(terminal, limit)
		typed <- answer{text, err}
	}()
	select {
	case a := <-typed:
		return a.text, a.err
	case <-ctx.Done(): // interrupted: the program ends, and the read with it
		return "", ctx.Err()
	}
}
