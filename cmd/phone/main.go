// Command phone is the reference client app on pop/client: it logs a person in, gets a token, shows it to a device if
// need be, and sends protected requests.
package main

import (
	"io"
	"os"
	"path/filepath"

	"github.com/latchkey-ace/latchkey/cmd/internal/command"
	"github.com/spf13/cobra"
)

func main() { command.Main(root(), nil) }

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
		Use:   "phone",
		Short: "Reference app: log in, get a token, use a device",
		Example: "  phone login --issuer http://localhost:8080 --client phone --device front-door --scope 'unlock disarm'\n" +
			"  phone token\n  phone post /door/unlock",
	}
	f := c.PersistentFlags()
	f.StringVar(&p.state, "state", defaultState(), "where sessions are kept")
	f.StringVar(&p.session, "session", "default", "which session")
	f.BoolVar(&p.json, "json", false, "answer in JSON")
	f.CountVarP(&p.verbose, "verbose", "v", "show each message in words; -vv decoded, CBOR in diagnostic notation")
	return command.Root(c, append(p.requestCommands(), p.loginCommand(), p.tokenCommand(), p.deliverCommand(), p.peerCommand())...)
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
	return command.Say(w, p.json, value, words, args...)
}
