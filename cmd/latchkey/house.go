package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
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
)

// config is what the operator decides; flags come before LATCHKEY_* before the file.
type config struct {
	Issuer string `toml:"issuer"`
	HTTP   string `toml:"http"`
	CoAP   string `toml:"coap"`
	DB     string `toml:"db"`
}

// environment names each variable there is; any other LATCHKEY_ variable is a mistake.
func (c *config) environment() map[string]*string {
	return map[string]*string{"LATCHKEY_ISSUER": &c.Issuer, "LATCHKEY_HTTP": &c.HTTP, "LATCHKEY_COAP": &c.CoAP, "LATCHKEY_DB": &c.DB}
}

func defaults() config {
	return config{Issuer: "http://localhost:8080", HTTP: "127.0.0.1:8080", CoAP: "127.0.0.1:5683"}
}

// loadConfig reads the folder's file and the environment.
func loadConfig(dir string) (config, error) {
	c := defaults()
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
	return c, c.fromEnvironment()
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
			names := make([]string, 0, len(known))
			for n := range known {
				names = append(names, n)
			}
			slices.Sort(names)
			return fmt.Errorf("unknown variable %s; there are %s", name, strings.Join(names, ", "))
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
	host, _, err := net.SplitHostPort(c.HTTP)
	if err != nil {
		return fmt.Errorf("http %q: give an address like 127.0.0.1:8080", c.HTTP)
	}
	if a, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !a.IsLoopback()) {
		return fmt.Errorf("http %q: plain HTTP is served on loopback only; put a TLS proxy on this machine in front of it", c.HTTP)
	}
	if _, err := netip.ParseAddrPort(c.CoAP); err != nil {
		return fmt.Errorf("coap %q: give an address like 127.0.0.1:5683", c.CoAP)
	}
	return nil
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
	c, err := loadConfig(t.data)
	if err != nil {
		return nil, err
	}
	return openHouse(ctx, t.data, c, slog.New(slog.DiscardHandler))
}

func openHouse(ctx context.Context, dir string, c config, log *slog.Logger) (*house, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	key, err := storage.LoadOrCreateKey(filepath.Join(dir, keyFile))
	if err != nil {
		return nil, err
	}
	url := c.DB
	if url == "" {
		url = "sqlite:" + filepath.Join(dir, dbFile)
	}
	store, err := storage.Open(ctx, url, storage.Options{Key: key})
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
