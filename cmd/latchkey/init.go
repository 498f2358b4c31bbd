package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/latchkey-ace/latchkey/cmd/internal/command"
	"github.com/spf13/cobra"
)

func (t *tool) initCommand() *cobra.Command {
	var given flags
	cmd := &cobra.Command{
		Use:     "init",
		Short:   "Make a server's folder: configuration, key file, empty store",
		Example: "  latchkey init --data ./data --issuer http://localhost:8080",
		Args:    command.None,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if t.data == "" {
				return errNoData
			}
			c, err := newConfig(given)
			if err != nil {
				return err
			}
			if err := makeHouse(cmd, t.data, c); err != nil {
				return err
			}
			return t.say(cmd.OutOrStdout(), map[string]string{"data": t.data, "issuer": c.Issuer},
				"made %s for %s\nnext: latchkey user add NAME --password-stdin --data %s", t.data, c.Issuer, t.data)
		},
	}
	given = settingFlags(cmd)
	return cmd
}

// makeHouse writes the configuration last, so that a folder half made is made again. A folder with anything else in it
// is left alone.
func makeHouse(cmd *cobra.Command, dir string, c config) error {
	if err := checkFolder(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	h, err := openHouse(cmd.Context(), dir, c, houseOptions{migrate: true})
	if err != nil {
		return err
	}
	if err := h.Close(); err != nil {
		return err
	}
	return writeConfig(dir, c)
}

func writeConfig(dir string, c config) error {
	text, err := c.file()
	if err != nil {
		return err
	}
	return writeNew(filepath.Join(dir, configFile), text)
}

// checkFolder wants a folder without configuration and without anything that is not ours, or none.
func checkFolder(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if e.Name() == configFile {
			return fmt.Errorf("%s exists: this folder is made already", filepath.Join(dir, configFile))
		}
		if ours := []string{keyFile, socketFile, lockFile, "lost+found"}; !slices.Contains(ours, e.Name()) && !strings.HasPrefix(e.Name(), dbFile) {
			return fmt.Errorf("%s holds %s and is no server's folder: give a new one", dir, e.Name())
		}
	}
	return nil
}

// writeNew writes a file that must not exist yet, readable by its owner only, and makes it durable.
func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}
