package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/grant"
	"github.com/latchkey-ace/latchkey/storage"
)

// Names in the server's folder.
const (
	configFile = "latchkey.toml"
	keyFile    = "store.key"
	dbFile     = "latchkey.db"
	socketFile = "admin.sock"
	lockFile   = "serve.lock"
)

// config is what the operator decides: flags come before LATCHKEY_* before the file.
type config struct {
	Issuer string `toml:"issuer"`
	HTTP   string `toml:"http"`
	CoAP   string `toml:"coap"`
	DB     string `toml:"db"`
}

const (
	defaultHTTP = "127.0.0.1:8080"
	defaultCoAP = "127.0.0.1:5683"
)

// environment names each variable there is; any other LATCHKEY_ variable is a mistake.
func (c *config) environment() map[string]*string {
	return map[string]*string{"LATCHKEY_ISSUER": &c.Issuer, "LATCHKEY_HTTP": &c.HTTP, "LATCHKEY_COAP": &c.CoAP, "LATCHKEY_DB": &c.DB}
}

// loadConfig reads the folder's file, then the environment, then flags.
func loadConfig(dir string, flags config) (config, error) {
	c := config{HTTP: defaultHTTP, CoAP: defaultCoAP}
	path := filepath.Join(dir, configFile)
	meta, err := toml.DecodeFile(path, &c)
	if errors.Is(err, fs.ErrNotExist) {
		return c, fmt.Errorf("%s is not a server's folder: run latchkey init --data %s", dir, dir)
	}
	if err != nil {
		return c, fmt.Errorf("%s: %w", path, err)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return c, fmt.Errorf("%s: unknown key %s; there are issuer, http, coap and db", path, unknown[0])
	}
	return c, c.complete(flags)
}

// newConfig is the configuration of a folder that is still to be made.
func newConfig(flags config) (config, error) {
	c := config{HTTP: defaultHTTP, CoAP: defaultCoAP}
	return c, c.complete(flags)
}

// complete takes the environment and the flags, and derives the issuer from the HTTP port if nobody named one.
func (c *config) complete(flags config) error {
	if hasPassword(flags.DB) {
		return errors.New("--db: every user of this machine can read the command line; put an address with a password into LATCHKEY_DB or latchkey.toml")
	}
	if err := c.fromEnvironment(); err != nil {
		return err
	}
	override(&c.Issuer, flags.Issuer)
	override(&c.HTTP, flags.HTTP)
	override(&c.CoAP, flags.CoAP)
	override(&c.DB, flags.DB)
	if _, port, err := net.SplitHostPort(c.HTTP); err == nil && c.Issuer == "" {
		c.Issuer = "http://localhost:" + port
	}
	return c.check()
}

func override(to *string, flag string) {
	if flag != "" {
		*to = flag
	}
}

func hasPassword(db string) bool {
	u, err := url.Parse(db)
	if err != nil {
		return true // unreadable; it may hold one
	}
	_, has := u.User.Password()
	return has || u.Query().Has("password") || strings.Contains(db, "password=")
}

func (c *config) fromEnvironment() error {
	known := c.environment()
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, "LATCHKEY_") || name == "LATCHKEY_DATA" {
			continue
		}
		target, ok := known[name]
		if !ok {
			names := slices.Sorted(maps.Keys(known))
			return fmt.Errorf("unknown variable %s; there are LATCHKEY_DATA, %s", name, strings.Join(names, ", "))
		}
		*target = value
	}
	return nil
}

// check refuses what would be unsafe or would not work.
func (c *config) check() error {
	u, err := url.Parse(c.Issuer)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("issuer %q: give an address like http://localhost:8080", c.Issuer)
	}
	if strings.HasSuffix(c.Issuer, "/") {
		return fmt.Errorf("issuer %q: leave out the / at the end", c.Issuer)
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return fmt.Errorf("issuer %q: http is for this machine only; give the https address of the TLS proxy", c.Issuer)
	}
	host, port, err := net.SplitHostPort(c.HTTP)
	if err != nil {
		return fmt.Errorf("http %q: give an address like 127.0.0.1:8080", c.HTTP)
	}
	if port == "0" {
		return fmt.Errorf("http %q: give a fixed port; the issuer is known by it", c.HTTP)
	}
	if !loopback(host) {
		return fmt.Errorf("http %q: plain HTTP is served on loopback only; put a TLS proxy on this machine in front of it", c.HTTP)
	}
	if a, err := netip.ParseAddrPort(c.CoAP); err != nil || a.Port() == 0 {
		return fmt.Errorf("coap %q: give an address like 127.0.0.1:5683", c.CoAP)
	}
	return nil
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// coapURI is where devices call the server. A socket on all addresses has none of its own; the issuer's name has.
func (c *config) coapURI() string {
	a := netip.MustParseAddrPort(c.CoAP) // checked
	u, err := url.Parse(c.Issuer)
	if err != nil || !a.Addr().IsUnspecified() {
		return "coap://" + c.CoAP
	}
	return "coap://" + net.JoinHostPort(u.Hostname(), strconv.Itoa(int(a.Port())))
}

// house is an opened server's folder.
type house struct {
	dir    string
	config config
	store  authz.Store
	server *authz.Server
}

// open opens the folder for one command; the server itself may be running on it.
func (t *tool) open(ctx context.Context) (*house, error) {
	if t.data == "" {
		return nil, errNoData
	}
	c, err := loadConfig(t.data, config{})
	if err != nil {
		return nil, err
	}
	return openHouse(ctx, t.data, c, slog.New(slog.DiscardHandler))
}

func openHouse(ctx context.Context, dir string, c config, log *slog.Logger) (*house, error) {
	key, err := storage.LoadOrCreateKey(filepath.Join(dir, keyFile))
	if err != nil {
		return nil, err
	}
	db := c.DB
	if db == "" {
		db = "sqlite:" + filepath.Join(dir, dbFile)
	}
	store, err := storage.Open(ctx, db, storage.Options{Key: key})
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	server, err := authz.New(ctx, c.Issuer, store, grant.New(rand.Reader), authz.Options{Log: log})
	if err != nil {
		_ = store.Close()
		return nil, err
	}
	return &house{dir: dir, config: c, store: store, server: server}, nil
}

func (h *house) Close() error { return h.store.Close() }
