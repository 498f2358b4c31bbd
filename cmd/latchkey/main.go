// Command latchkey is the authorization server and its tools: serve, init, user, client, device, grant, token, demo.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := root().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "latchkey:", err)
		os.Exit(1)
	}
}

// tool is what every command shares.
type tool struct {
	data string
	json bool
}

func root() *cobra.Command {
	t := &tool{}
	c := &cobra.Command{
		Use:           "latchkey",
		Short:         "Authorization for things that cannot speak TLS, have no clock, or are never online",
		SilenceUsage:  true,
		SilenceErrors: true,
		Example:       "  latchkey demo\n  latchkey serve --data ./data",
	}
	c.PersistentFlags().StringVar(&t.data, "data", os.Getenv("LATCHKEY_DATA"), "the server's folder (LATCHKEY_DATA)")
	c.PersistentFlags().BoolVar(&t.json, "json", false, "answer in JSON")
	c.AddCommand(t.initCommand(), t.serveCommand(), t.userCommand(), t.clientCommand(), t.deviceCommand(), t.grantCommand(), t.tokenCommand(), t.auditCommand(), t.demoCommand())
	return c
}

// say answers in words, or with --json in JSON.
func (t *tool) say(w io.Writer, value any, words string, args ...any) error {
	if t.json {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		return e.Encode(value)
	}
	_, err := fmt.Fprintf(w, words+"\n", args...)
	return err
}

var errNoData = errors.New("say where the server's folder is: --data DIR or LATCHKEY_DATA")

// group is a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	c.AddCommand(commands...)
	return c
}
