package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/spf13/cobra"
)

// flags are the settings given on the command line, by name of the setting.
type flags map[string]string

// given is one such flag. A list may be given in several.
type given struct {
	to   flags
	name string
	list bool
	kind string
}

func (g given) String() string { return "" }

func (g given) Type() string { return g.kind }

func (g given) Set(text string) error {
	if before, ok := g.to[g.name]; ok && g.list {
		text = before + "," + text
	}
	g.to[g.name] = text
	return nil
}

// settingFlags lets the settings be given on the command line.
func settingFlags(cmd *cobra.Command) flags {
	all := flags{}
	for _, s := range new(config).settings() {
		g := given{to: all, name: s.name, kind: "string"}
		switch s.value.(type) {
		case *[]string:
			g.list, g.kind = true, "list"
		case *span:
			g.kind = "duration"
		case *bool:
			g.kind = "bool"
		}
		f := cmd.Flags().VarPF(g, s.flag(), "", s.means)
		if g.kind == "bool" {
			f.NoOptDefVal = "true"
		}
	}
	return all
}

// loadConfig reads the folder's file, then the environment, then flags, and refuses what would be unsafe or not work.
func loadConfig(dir string, given flags) (config, error) {
	c, err := readConfig(dir, given)
	if err != nil {
		return c, err
	}
	return c, first(c.check())
}

// readConfig is loadConfig without the checks.
func readConfig(dir string, given flags) (config, error) {
	c := defaults()
	path := filepath.Join(dir, configFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, fmt.Errorf("%s is not a server's folder: run latchkey init --data %s", dir, dir)
	}
	if err != nil {
		return c, err
	}
	meta, err := toml.Decode(string(text), &c)
	if err != nil {
		return c, fmt.Errorf("%s: %w", path, err)
	}
	if strange := meta.Undecoded(); len(strange) > 0 {
		name := strange[0].String()
		return c, fmt.Errorf("%s, line %d: %w", path, lineOf(text, strange[0][0]), unknown("key", name, settingNames(func(s setting) string { return s.name })))
	}
	for _, s := range c.settings() {
		if meta.IsDefined(s.name) {
			c.from[s.name] = configFile
		}
	}
	return c, c.complete(given)
}

// lineOf finds the line of a key or table; 1 if it is written in an unusual way.
func lineOf(text []byte, key string) int {
	n := 0
	for line := range bytes.Lines(text) {
		n++
		if rest, ok := bytes.CutPrefix(bytes.TrimLeft(line, " \t[\"'"), []byte(key)); ok && len(rest) > 0 && strings.IndexByte(" \t=.]\"'", rest[0]) >= 0 {
			return n
		}
	}
	return 1
}

// newConfig is the configuration of a folder that is still to be made.
func newConfig(given flags) (config, error) {
	c := defaults()
	if err := c.complete(given); err != nil {
		return c, err
	}
	return c, first(c.check())
}

// complete takes the environment and the flags, and derives the issuer from the HTTP port if nobody named one.
func (c *config) complete(given flags) error {
	if hasPassword(given["db"]) {
		return errors.New("--db: every user of this machine can read the command line; put an address with a password into LATCHKEY_DB or latchkey.toml")
	}
	if err := c.fromEnvironment(os.Environ()); err != nil {
		return err
	}
	for _, s := range c.settings() {
		text, ok := given[s.name]
		if !ok {
			continue
		}
		if err := s.set(text); err != nil {
			return fmt.Errorf("--%s: %w", s.flag(), err)
		}
		c.from[s.name] = "--" + s.flag()
	}
	if _, port, err := net.SplitHostPort(c.HTTP); err == nil && c.Issuer == "" {
		c.Issuer = "http://localhost:" + port
		c.from["issuer"] = "the port of http"
	}
	return nil
}

func (c *config) fromEnvironment(environment []string) error {
	known := map[string]setting{}
	for _, s := range c.settings() {
		known[s.variable()] = s
	}
	for _, pair := range environment {
		name, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, "LATCHKEY_") || name == "LATCHKEY_DATA" {
			continue
		}
		s, ok := known[name]
		if !ok {
			return unknown("variable", name, append(settingNames(setting.variable), "LATCHKEY_DATA"))
		}
		if err := s.set(value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		c.from[s.name] = name
	}
	return nil
}

func hasPassword(db string) bool {
	u, err := url.Parse(db)
	if err != nil {
		return true // unreadable; it may hold one
	}
	_, has := u.User.Password()
	return has || u.Query().Has("password") || strings.Contains(db, "password=")
}

// file is the content of a new latchkey.toml: the addresses, and what is not as usual.
func (c *config) file() ([]byte, error) {
	usual := map[string]string{}
	plain := defaults()
	for _, s := range plain.settings() {
		usual[s.name] = s.text()
	}
	var text bytes.Buffer
	text.WriteString("# latchkey config explain --data DIR shows every setting.\n")
	for _, s := range c.settings() {
		if always := s.name == "issuer" || s.name == "http" || s.name == "coap"; !always && s.text() == usual[s.name] {
			continue
		}
		if err := toml.NewEncoder(&text).Encode(map[string]any{s.name: s.value}); err != nil {
			return nil, err
		}
	}
	return text.Bytes(), nil
}

// within is a path of the configuration: one that is not absolute starts at the server's folder.
func within(dir, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

func first(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	return errs[0]
}
