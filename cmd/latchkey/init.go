package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/BurntSushi/toml"
	"github.com/spf13/cobra"
)

func (t *tool) initCommand() *cobra.Command {
	c := defaults()
	cmd := &cobra.Command{
		Use:     "init",
		Short:   "Make a server's folder: configuration, key file, empty store",
		Example: "  latchkey init --data ./data --issuer http://localhost:8080",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if t.data == "" {
				return errNoData
			}
			if err := makeHouse(cmd, t.data, c); err != nil {
				return err
			}
			return t.say(cmd.OutOrStdout(), map[string]string{"data": t.data, "issuer": c.Issuer},
				"made %s for %s\nnext: latchkey user add NAME --password-stdin --data %s", t.data, c.Issuer, t.data)
		},
	}
	cmd.Flags().StringVar(&c.Issuer, "issuer", c.Issuer, "the server's public address")
	cmd.Flags().StringVar(&c.HTTP, "http", c.HTTP, "where to serve HTTP")
	cmd.Flags().StringVar(&c.CoAP, "coap", c.CoAP, "where to serve CoAP over UDP")
	cmd.Flags().StringVar(&c.DB, "db", c.DB, "postgres://… instead of the built-in store")
	return cmd
}

// makeHouse writes the configuration last, so that a folder half made is made again.
func makeHouse(cmd *cobra.Command, dir string, c config) error {
	if err := c.check(); err != nil {
		return err
	}
	path := filepath.Join(dir, configFile)
	if _, err := os.Stat(path); err == nil {
		return fmt.Errorf("%s exists: this folder is made already", path)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	h, err := openHouse(cmd.Context(), dir, c, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	if err := h.Close(); err != nil {
		return err
	}
	var text bytes.Buffer
	if err := toml.NewEncoder(&text).Encode(c); err != nil {
		return err
	}
	return writeNew(path, text.Bytes())
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
