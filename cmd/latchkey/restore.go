package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/cmd/internal/command"
	"github.com/latchkey-ace/latchkey/storage"
	"github.com/latchkey-ace/latchkey/storage/backup"
	"github.com/spf13/cobra"
)

// restoreFlags say what opens a backup and where it goes.
type restoreFlags struct {
	identity   string
	passphrase bool
	db         string
}

func (t *tool) restoreCommand() *cobra.Command {
	var f restoreFlags
	c := &cobra.Command{
		Use:   "restore FILE",
		Short: "Bring a backup back, into a new folder",
		Long: "Brings a backup back into an empty store: a new folder or one without a database, or an empty PostgreSQL database. The whole\n" +
			"backup is checked before anything of it can be seen. The configuration comes with it; a folder that has one keeps it.\n" +
			"Afterwards the store is only read, until latchkey recover has ended what may have been used since the backup was made.",
		Example: "  latchkey restore monday.age --identity backup.key --data ./restored\n" +
			"  latchkey restore monday.age --passphrase-stdin --data ./restored < passphrase.txt\n" +
			"  latchkey restore monday.age --identity backup.key --data ./restored --db postgres://latchkey@db.example/latchkey",
		Args: command.One,
		RunE: func(cmd *cobra.Command, args []string) error { return t.restore(cmd, args[0], f) },
	}
	c.Flags().StringVar(&f.identity, "identity", "", "the file with the secret key of age, mode 0600")
	c.Flags().BoolVar(&f.passphrase, "passphrase-stdin", false, "read the passphrase from standard input, one line; without it and without a key the terminal asks")
	c.Flags().StringVar(&f.db, "db", "", "postgres://… instead of the built-in store")
	return c
}

func (t *tool) restore(cmd *cobra.Command, path string, f restoreFlags) error {
	if t.data == "" {
		return errNoData
	}
	keys, err := f.keys(cmd)
	if err != nil {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	r := &restoring{dir: t.data, db: f.db}
	if err := r.begin(); err != nil {
		return err
	}
	defer r.end()
	header, count, err := storage.Restore(cmd.Context(), r.config.database(t.data), file, storage.RestoreOptions{
		Keys: keys, Ready: r.ready, Progress: progress(cmd.ErrOrStderr()),
	})
	if err != nil {
		return err
	}
	r.done = true
	return t.say(cmd.OutOrStdout(), map[string]any{"data": t.data, "issuer": header.Issuer, "made": header.Made, "rows": count.Rows},
		"restored %d rows of %s into %s, as of %s\nthe store is only read now; let it be used again: latchkey recover --data %s",
		count.Rows, header.Issuer, t.data, header.Made.Format(time.RFC3339), t.data)
}

func (f *restoreFlags) keys(cmd *cobra.Command) (backup.Keys, error) {
	if f.passphrase && f.identity != "" {
		return backup.Keys{}, errors.New("--passphrase-stdin and --identity do not go together: give one of them")
	}
	if f.identity != "" {
		return readIdentity(f.identity)
	}
	passphrase, err := readPassphrase(cmd, f.passphrase, false)
	if err != nil {
		return backup.Keys{}, err
	}
	return backup.Passphrase(passphrase)
}

func readIdentity(path string) (backup.Keys, error) {
	f, err := os.Open(path)
	if err != nil {
		return backup.Keys{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return backup.Keys{}, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return backup.Keys{}, fmt.Errorf("%s can be read by others (mode %04o): run chmod 600 %s", path, info.Mode().Perm(), path)
	}
	keys, err := backup.ParseKeys(f)
	if err != nil {
		return keys, fmt.Errorf("%s: %w", path, err)
	}
	return keys, nil
}

// restoring is a folder that a backup comes into. Whatever it has made it takes away again, unless done.
type restoring struct {
	dir, db string
	config  config
	made    []string // in the order of making
	lock    *os.File
	done    bool
}

// begin makes the folder, or takes one without a database.
func (r *restoring) begin() (err error) {
	_, missing := os.Stat(filepath.Join(r.dir, configFile))
	if errors.Is(missing, fs.ErrNotExist) {
		r.config, err = newConfig(r.flags())
		if err == nil {
			err = checkFolder(r.dir)
		}
	} else {
		r.config, err = loadConfig(r.dir, r.flags())
	}
	if err != nil {
		return err
	}
	if err := os.Mkdir(r.dir, 0o700); err == nil {
		r.made = append(r.made, r.dir)
	} else if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if r.lock, err = lockFolder(r.dir); err != nil {
		r.end()
	}
	return err
}

func (r *restoring) flags() flags {
	if r.db == "" {
		return nil
	}
	return flags{"db": r.db}
}

func (r *restoring) end() {
	if r.lock != nil {
		r.lock.Close()
	}
	if r.done {
		return
	}
	if len(r.made) > 0 && r.made[0] == r.dir {
		_ = os.Remove(filepath.Join(r.dir, lockFile))
	}
	for i := len(r.made) - 1; i >= 0; i-- {
		_ = os.Remove(r.made[i])
	}
}

// ready puts the store key and the configuration in their places.
func (r *restoring) ready(h backup.Header, key storage.StoreKey) error {
	path := filepath.Join(r.dir, configFile)
	_, err := os.Stat(path)
	if err == nil && r.config.Issuer != h.Issuer {
		return fmt.Errorf("the backup is of %s and %s says %s: devices and apps know the server by its issuer", h.Issuer, path, r.config.Issuer)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = r.putConfig(path, h)
	}
	if err != nil {
		return err
	}
	file := filepath.Join(r.dir, keyFile)
	made, err := storage.PutKey(file, key)
	if made {
		r.made = append(r.made, file)
	}
	return err
}

// putConfig writes the configuration that came with the backup, but for the database, which is the new one.
func (r *restoring) putConfig(path string, h backup.Header) error {
	settings := map[string]any{}
	if _, err := toml.Decode(h.Config, &settings); err != nil {
		return fmt.Errorf("configuration in the backup: %w", err)
	}
	settings["issuer"] = h.Issuer
	delete(settings, "db")
	if r.db != "" {
		settings["db"] = r.db
	}
	var text bytes.Buffer
	if err := toml.NewEncoder(&text).Encode(settings); err != nil {
		return err
	}
	if err := writeNew(path, text.Bytes()); err != nil {
		return err
	}
	r.made = append(r.made, path)
	return nil
}

func (t *tool) recoverCommand() *cobra.Command {
	var promoted bool
	c := &cobra.Command{
		Use:   "recover",
		Short: "Let a restored store be used again",
		Long: "A store that was restored is only read: what was used since the backup was made would be good again. recover ends, in one\n" +
			"transaction, all codes, refresh tokens, sessions, initial access tokens and tokens, raises the epoch of every device, moves\n" +
			"all counters past what may have been given out, and begins the revocation list anew. Everybody signs in again, and apps\n" +
			"ask for new tokens. Grants that are good once give tokens again as soon as their device has sent its log.\n\n" +
			"It cannot know what was changed in the store since: look through latchkey grant list for what had been revoked. Signing\n" +
			"keys stay; if the backup may have been read by others, replace them.\n\n" +
			"With --promoted it does the same on a PostgreSQL standby that was promoted and may lack the last commits.",
		Example: "  latchkey recover --data ./data\n  latchkey recover --promoted --data ./data",
		Args:    command.None,
		RunE:    func(cmd *cobra.Command, _ []string) error { return t.recover(cmd, promoted) },
	}
	c.Flags().BoolVar(&promoted, "promoted", false, "also when the store was not restored")
	return c
}

func (t *tool) recover(cmd *cobra.Command, promoted bool) error {
	if t.data == "" {
		return errNoData
	}
	c, err := loadConfig(t.data, nil)
	if err != nil {
		return err
	}
	store, err := openStore(cmd.Context(), t.data, c, houseOptions{})
	if err != nil {
		return err
	}
	defer store.Close()
	made, err := store.Restored(cmd.Context())
	if err != nil {
		return err
	}
	if made.IsZero() && !promoted {
		return t.say(cmd.OutOrStdout(), map[string]any{"recovered": false},
			"nothing to do: the store was not restored, or has been recovered\n(a standby that was promoted: latchkey recover --promoted)")
	}
	now := time.Now()
	r, err := store.Recover(cmd.Context(), authz.AuditEntry{At: now, Event: "recover", Result: "granted", Reason: "by the operator"}, now)
	if err != nil {
		return err
	}
	words := "recovered: %d codes, %d sessions, %d refresh tokens, %d initial access tokens and %d tokens have ended; %d devices have a new epoch"
	if made.IsZero() {
		made = time.Now()
	} else {
		words += "\nthe backup was made at " + made.Format(time.RFC3339) + ": grants that were revoked since are good again. Look through latchkey grant list"
	}
	return t.say(cmd.OutOrStdout(), map[string]any{
		"recovered": true, "backup": made, "codes": r.Codes, "sessions": r.Logins, "refresh_tokens": r.Refresh, "initial_access_tokens": r.Invited,
		"tokens": r.Tokens, "devices": r.Devices, "logs_wanted": r.Logs,
	}, words, r.Codes, r.Logins, r.Refresh, r.Invited, r.Tokens, r.Devices)
}
