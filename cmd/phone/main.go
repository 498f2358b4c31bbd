// Command phone is the reference client app on pop/client: it logs a person in, gets a token, shows it to a device if
// need be, and sends protected requests.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := root().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "phone:", err)
		os.Exit(1)
	}
}

// phone is what every command shares.
type phone struct {
	state   string
	session string
	to      string
	json    bool
	verbose int
}

func root() *cobra.Command {
	p := &phone{}
	c := &cobra.Command{
		Use:           "phone",
		Short:         "Reference app: log in, get a token, use a device",
		SilenceUsage:  true,
		SilenceErrors: true,
		Example: "  phone login --issuer http://localhost:8080 --client phone --device front-door --scope 'unlock disarm'\n" +
			"  phone token\n  phone post /door/unlock",
	}
	f := c.PersistentFlags()
	f.StringVar(&p.state, "state", defaultState(), "where sessions are kept")
	f.StringVar(&p.session, "session", "default", "which session")
	f.BoolVar(&p.json, "json", false, "answer in JSON")
	f.CountVarP(&p.verbose, "verbose", "v", "show each message in words; -vv decoded, CBOR in diagnostic notation")
	c.AddCommand(p.loginCommand(), p.tokenCommand(), p.deliverCommand())
	c.AddCommand(p.requestCommands()...)
	return c
}

func defaultState() string {
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "latchkey-phone")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".local", "state", "latchkey-phone")
}

func (p *phone) trace(cmd *cobra.Command) trace {
	return trace{out: cmd.ErrOrStderr(), level: p.verbose}
}

// say answers in words, or with --json in JSON.
func (p *phone) say(w io.Writer, value any, words string, args ...any) error {
	if p.json {
		return json.NewEncoder(w).Encode(value)
	}
	_, err := fmt.Fprintf(w, words+"\n", args...)
	return err
}
