// Command latchkey is the authorization server and its tools: serve, init, user, client, device, grant, token, keys, demo.
package main

import (
	"errors"
	"io"
	"os"

	"github.com/latchkey-ace/latchkey/cmd/internal/command"
	"github.com/spf13/cobra"
)

func main() { command.Main(root(), later) }

// later is what is not there, and what is there instead.
var later = command.Later{
	"latchkey device add --remote": "a door opens only for a phone that reaches the door itself",
}

// tool is what every command shares.
type tool struct {
	data string
	json bool
}

func root() *cobra.Command {
	t := &tool{}
	c := &cobra.Command{
		Use:   "latchkey",
		Short: "Authorization for things that cannot speak TLS, have no clock, or are never online",
		Long: "Authorization for things that cannot speak TLS, have no clock, or are never online.\n" +
			"Flags come before LATCHKEY_* variables, and those before latchkey.toml in the server's folder; latchkey config explain\n" +
			"shows them all. latchkey completion SHELL prints completions.",
		Example: "  latchkey demo\n  latchkey serve --data ./data",
	}
	c.PersistentFlags().StringVar(&t.data, "data", os.Getenv("LATCHKEY_DATA"), "the server's folder (LATCHKEY_DATA)")
	c.PersistentFlags().BoolVar(&t.json, "json", false, "answer in JSON")
	return command.Root(c, t.initCommand(), t.serveCommand(), t.withStanding(t.userCommand()), t.withStanding(t.clientCommand()), t.withStanding(t.deviceCommand()),
		t.withStanding(t.grantCommand()), t.tokenCommand(), t.keysCommand(), t.auditCommand(), t.demoCommand(), t.configCommand(), t.doctorCommand(),
		t.backupCommand(), t.restoreCommand(), t.recoverCommand(), t.migrateCommand(), t.attesterCommand(), t.mediatorCommand())
}

// say answers in words, or with --json in JSON.
func (t *tool) say(w io.Writer, value any, words string, args ...any) error {
	return command.Say(w, t.json, value, words, args...)
}

var errNoData = errors.New("say where the server's folder is: --data DIR or LATCHKEY_DATA")
