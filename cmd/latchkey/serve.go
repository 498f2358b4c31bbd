package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/cmd/internal/command"
	"github.com/spf13/cobra"
)

func (t *tool) serveCommand() *cobra.Command {
	var given flags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long: "Runs the server until it is told to stop (SIGINT, SIGTERM). On a new folder it first runs init with defaults and says so.\n" +
			"Without a certificate HTTP is served on loopback only, or behind the proxies that are declared.",
		Example: "  latchkey serve --data ./data\n  latchkey serve --data ./data --http 127.0.0.1:8080 --coap 0.0.0.0:5683\n" +
			"  latchkey serve --data ./data --http :443 --tls-cert chain.pem --tls-key key.pem --issuer https://home.example",
		Args: command.None,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if t.data == "" {
				return errNoData
			}
			return t.serve(cmd, given)
		},
	}
	given = settingFlags(cmd)
	return cmd
}

func (t *tool) serve(cmd *cobra.Command, given flags) error {
	command.IgnoreClosedOutput()
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}) // no memory with keys on the disk; without it the server runs all the same
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbage)
	}
	if _, err := os.Stat(filepath.Join(t.data, configFile)); errors.Is(err, fs.ErrNotExist) {
		c, err := newConfig(given)
		if err != nil {
			return err
		}
		// A database that is down now is waited for below; a folder without its configuration would be no folder.
		if err := makeHouse(cmd, t.data, c); err != nil && !errors.Is(err, authz.ErrUnavailable) {
			return err
		} else if err != nil {
			if err := writeConfig(t.data, c); err != nil {
				return err
			}
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "latchkey: ran init: %s is a new server's folder for %s\n", t.data, c.Issuer)
	}
	c, err := loadConfig(t.data, given)
	if err != nil {
		return err
	}
	s, err := newService(t.data, c, newLogger(cmd.ErrOrStderr(), c.LogLevel, c.LogFormat))
	if err != nil {
		return err
	}
	lock, err := lockFolder(t.data)
	if err != nil {
		return err
	}
	defer lock.Close()
	scheme := "http"
	if s.certificates != nil {
		scheme = "https"
	}
	s.ready = func() error {
		doors := map[string]string{"issuer": c.Issuer, scheme: s.http.Addr().String(), "coap": s.coap.LocalAddr().String()}
		words := fmt.Sprintf("serving %s on %s://%s and coap://%s", c.Issuer, scheme, s.http.Addr(), s.coap.LocalAddr())
		if s.coaps != nil {
			doors["coaps"] = s.coaps.LocalAddr().String()
			words += " and coaps://" + doors["coaps"]
		}
		return t.say(cmd.OutOrStdout(), doors, "%s", words)
	}
	return s.run(cmd.Context())
}
