package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/grant"
	"github.com/latchkey-ace/latchkey/authz/throttle"
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
	c, err := loadConfig(t.data, nil)
	if err != nil {
		return nil, err
	}
	return openHouse(ctx, t.data, c, houseOptions{})
}

// houseOptions are for those who watch a house at work; the zero value is for one command.
type houseOptions struct {
	log     *slog.Logger                        // nil discards
	watch   func(took time.Duration, err error) // of each write
	observe func(o authz.Observation)           // of each decision
	migrate bool                                // brings the tables up to date, as only a server may
}

func openHouse(ctx context.Context, dir string, c config, o houseOptions) (*house, error) {
	store, err := openStore(ctx, dir, c, o)
	if err != nil {
		return nil, err
	}
	options := authz.Options{Log: o.log, TokenLife: time.Duration(c.TokenLife), Observe: o.observe, Uptime: uptime}
	if c.Limits {
		options.Limits = throttle.Rules()
	}
	server, err := authz.New(ctx, c.Issuer, store, grant.New(rand.Reader), options)
	if err != nil {
		_ = store.Close()
		return nil, err
	}
	return &house{dir: dir, config: c, store: store, server: server}, nil
}

func openStore(ctx context.Context, dir string, c config, o houseOptions) (authz.Store, error) {
	key, err := storage.LoadOrCreateKey(filepath.Join(dir, keyFile))
	if err != nil {
		return nil, err
	}
	store, err := storage.Open(ctx, c.database(dir), storage.Options{Key: key, Watch: o.watch, KeepTables: !o.migrate})
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return store, nil
}

// database is the URL of the store.
func (c *config) database(dir string) string {
	if c.DB == "" {
		return "sqlite:" + filepath.Join(dir, dbFile)
	}
	return c.DB
}

func (h *house) Close() error { return h.store.Close() }
