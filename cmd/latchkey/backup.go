package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/latchkey-ace/latchkey/cmd/internal/command"
	"github.com/latchkey-ace/latchkey/storage"
	"github.com/latchkey-ace/latchkey/storage/backup"
	"github.com/spf13/cobra"
)

// backupFlags say where a backup goes and who can open it.
type backupFlags struct {
	out        string
	to         []string
	toFile     string
	passphrase bool
}

func (t *tool) backupCommand() *cobra.Command {
	var f backupFlags
	c := &cobra.Command{
		Use:   "backup",
		Short: "Save the whole store to one encrypted file, while the server runs",
		Long: "Saves one state of the store, as of this moment, while the server runs. The file is encrypted with age: to public keys\n" +
			"(age1…, of age-keygen or latchkey backup key), or to a passphrase. It holds the store key too, so keep what opens it\n" +
			"away from this machine; without it the file says nothing. latchkey restore brings it back, on either engine.",
		Example: "  latchkey backup --out monday.age --to age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p --data ./data\n" +
			"  latchkey backup --out monday.age --to-file recipients.txt --data ./data\n" +
			"  latchkey backup --out monday.age --passphrase-stdin --data ./data < passphrase.txt",
		Args: command.None,
		RunE: func(cmd *cobra.Command, _ []string) error { return t.backup(cmd, f) },
	}
	c.Flags().StringVar(&f.out, "out", "", "the file to make; it must not exist")
	c.Flags().StringArrayVar(&f.to, "to", nil, "a public key of age that can open it")
	c.Flags().StringVar(&f.toFile, "to-file", "", "a file of such keys, one a line")
	c.Flags().BoolVar(&f.passphrase, "passphrase-stdin", false, "read a passphrase from standard input, one line; without it and without keys the terminal asks")
	c.AddCommand(t.backupKeyCommand())
	return c
}

func (t *tool) backupKeyCommand() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "key",
		Short: "Make a key pair for backups",
		Long: "Makes a key pair of age. The secret key goes into the file, which belongs onto another machine or into a safe; the public\n" +
			"key is printed, for latchkey backup --to.",
		Example: "  latchkey backup key --out backup.key > recipients.txt",
		Args:    command.None,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				return errors.New("say where the secret key goes: --out FILE")
			}
			public, secret, err := backup.GenerateKey()
			if err != nil {
				return err
			}
			if err := writeNew(out, fmt.Appendf(nil, "# public key: %s\n%s\n", public, secret)); err != nil {
				return fmt.Errorf("%w: give a new file", err)
			}
			if !t.json {
				fmt.Fprintf(cmd.ErrOrStderr(), "latchkey: the secret key is in %s: whoever has it can open backups, so keep it away from this machine\n", out)
			}
			return t.say(cmd.OutOrStdout(), map[string]string{"public_key": public, "file": out}, "%s", public)
		},
	}
	c.Flags().StringVar(&out, "out", "", "the file to make, mode 0600")
	return c
}

func (t *tool) backup(cmd *cobra.Command, f backupFlags) error {
	if t.data == "" {
		return errNoData
	}
	if f.out == "" {
		return errors.New("say where the backup goes: --out FILE")
	}
	c, err := loadConfig(t.data, nil)
	if err != nil {
		return err
	}
	key, err := storage.LoadKey(filepath.Join(t.data, keyFile))
	if err != nil {
		return err
	}
	to, err := f.recipients(cmd)
	if err != nil {
		return err
	}
	file, err := backup.Create(f.out)
	if err != nil {
		return err
	}
	defer file.Discard()
	text, err := os.ReadFile(filepath.Join(t.data, configFile))
	if err != nil {
		return err
	}
	count, err := storage.Backup(cmd.Context(), c.database(t.data), file, storage.BackupOptions{
		Key: key, Issuer: c.Issuer, Config: string(text), To: to, Now: time.Now(), Progress: progress(cmd.ErrOrStderr()),
	})
	if err != nil {
		return err
	}
	if err := file.Commit(); err != nil {
		return err
	}
	return t.say(cmd.OutOrStdout(), map[string]any{"file": f.out, "issuer": c.Issuer, "tables": count.Tables, "rows": count.Rows},
		"saved %d rows of %d tables to %s\nnow and then restore one on another machine: latchkey restore --help", count.Rows, count.Tables, f.out)
}

// recipients reads who can open the backup: keys or a passphrase, not both.
func (f *backupFlags) recipients(cmd *cobra.Command) (backup.Recipients, error) {
	switch {
	case f.passphrase && (f.to != nil || f.toFile != ""):
		return backup.Recipients{}, errors.New("--passphrase-stdin and keys do not go together: give one of them")
	case f.to != nil || f.toFile != "":
		text := []byte(strings.Join(f.to, "\n") + "\n")
		if f.toFile != "" {
			more, err := os.ReadFile(f.toFile)
			if err != nil {
				return backup.Recipients{}, err
			}
			text = append(text, more...)
		}
		return backup.ParseRecipients(bytes.NewReader(text))
	}
	passphrase, err := readPassphrase(cmd, f.passphrase, true)
	if err != nil {
		return backup.Recipients{}, err
	}
	return backup.ToPassphrase(passphrase)
}

// progress tells of long work, and says nothing of short.
func progress(w io.Writer) func(table string, rows int64) {
	started := time.Now()
	return func(table string, rows int64) {
		if time.Since(started) > time.Second {
			fmt.Fprintf(w, "latchkey: %d rows, in table %s\n", rows, table)
			started = time.Now()
		}
	}
}

// readPassphrase reads it from standard input or, when that is a terminal, asks without showing what is typed.
func readPassphrase(cmd *cobra.Command, stdin, twice bool) (string, error) {
	if stdin {
		text, err := command.ReadLine(cmd.InOrStdin(), backup.MaxPassphrase)
		if err != nil {
			return "", fmt.Errorf("passphrase: %w", err)
		}
		return text, nil
	}
	ask := func(prompt string) (string, error) {
		return command.ReadHidden(cmd.Context(), os.Stdin, cmd.ErrOrStderr(), prompt, backup.MaxPassphrase)
	}
	first, err := ask("passphrase of the backup: ")
	if errors.Is(err, command.ErrNoTerminal) && twice {
		return "", errors.New("say who can open the backup: --to KEY, --to-file FILE or --passphrase-stdin")
	}
	if errors.Is(err, command.ErrNoTerminal) {
		return "", errors.New("say what opens the backup: --identity FILE or --passphrase-stdin")
	}
	if err != nil || !twice {
		return first, err
	}
	again, err := ask("once more: ")
	if err == nil && again != first {
		err = errors.New("the two passphrases differ: nothing was saved")
	}
	return first, err
}
