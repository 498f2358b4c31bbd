// Package command is what the programs share on the command line: how they start and end, how they say what is wrong
// with a command, and how they answer in words or in JSON. It knows no protocol. Start from Main.
package command

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"unicode"

	"github.com/latchkey-ace/latchkey/internal/checks"
	"github.com/spf13/cobra"
)

// Main runs the program until it ends or is told to stop (SIGINT, SIGTERM), and exits with 0 or 1. An error is one
// line on standard error.
func Main(root *cobra.Command, later Later) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	root.SilenceUsage, root.SilenceErrors = true, true
	for _, name := range checks.Off() {
		fmt.Fprintf(os.Stderr, "%s: TEST BUILD: the check %s is off\n", root.Name(), name)
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(later.flagError)
	err := root.ExecuteContext(ctx)
	stop()
	if err != nil {
		words := strings.Join(strings.Fields(err.Error()), " ") // an error of a library may have several lines
		fmt.Fprintf(os.Stderr, "%s: %s\n", root.Name(), Printable(words))
		os.Exit(1)
	}
}

// IgnoreClosedOutput lets a program that keeps running go on when nobody reads its output any more. Without it the
// first line written to a closed pipe would end the program: a lock that stops working because its log reader did.
func IgnoreClosedOutput() { signal.Ignore(syscall.SIGPIPE) }

// Say writes an answer: words, or with asJSON the value as one line of JSON.
func Say(w io.Writer, asJSON bool, value any, words string, args ...any) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		return e.Encode(value)
	}
	_, err := io.WriteString(w, Printable(fmt.Sprintf(words, args...))+"\n")
	return err
}

// Printable replaces what would do something to a terminal: part of what is printed came from elsewhere.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

// ErrLongLine says that a line on standard input does not fit.
var ErrLongLine = errors.New("the line on standard input is too long")

// ReadLine reads one line of at most limit bytes, without its end. A secret comes in this way, never as an argument.
func ReadLine(r io.Reader, limit int) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, int64(limit)+2)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	line = strings.TrimRight(line, "\r\n")
	if len(line) > limit {
		return "", ErrLongLine
	}
	return line, nil
}
