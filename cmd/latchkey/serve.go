package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/latchkey-ace/latchkey/authz/coapapi"
	"github.com/latchkey-ace/latchkey/authz/console"
	"github.com/latchkey-ace/latchkey/authz/delivery"
	"github.com/latchkey-ace/latchkey/authz/httpapi"
	"github.com/latchkey-ace/latchkey/cmd/internal/command"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

const drainTime = 5 * time.Second

func (t *tool) serveCommand() *cobra.Command {
	var flags config
	cmd := &cobra.Command{
		Use:     "serve",
		Short:   "Run the server",
		Long:    "Runs the server until it is told to stop (SIGINT, SIGTERM). On a new folder it first runs init with defaults and says so.",
		Example: "  latchkey serve --data ./data\n  latchkey serve --data ./data --http 127.0.0.1:8080 --coap 0.0.0.0:5683",
		Args:    command.None,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if t.data == "" {
				return errNoData
			}
			return t.serve(cmd, flags)
		},
	}
	cmd.Flags().StringVar(&flags.HTTP, "http", "", "where to serve HTTP (loopback only)")
	cmd.Flags().StringVar(&flags.CoAP, "coap", "", "where to serve CoAP over UDP")
	cmd.Flags().StringVar(&flags.DB, "db", "", "postgres://… instead of the built-in store")
	return cmd
}

func (t *tool) serve(cmd *cobra.Command, flags config) error {
	command.IgnoreClosedOutput()
	if _, err := os.Stat(filepath.Join(t.data, configFile)); errors.Is(err, fs.ErrNotExist) {
		c, err := newConfig(flags)
		if err != nil {
			return err
		}
		if err := makeHouse(cmd, t.data, c); err != nil {
			return err
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "latchkey: ran init: %s is a new server's folder for %s\n", t.data, c.Issuer)
	}
	c, err := loadConfig(t.data, flags)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
	h, err := openHouse(cmd.Context(), t.data, c, log)
	if err != nil {
		return err
	}
	defer h.Close()
	lock, err := lockFolder(t.data)
	if err != nil {
		return err
	}
	defer lock.Close()
	return t.run(cmd, h, log)
}

// listeners are the server's three doors: people and apps, devices, and this machine's operator.
type listeners struct {
	http  net.Listener
	coap  net.PacketConn
	admin net.Listener
}

func (h *house) listen() (l listeners, err error) {
	if l.http, err = net.Listen("tcp", h.config.HTTP); err != nil {
		return l, fmt.Errorf("serve HTTP: %w", err)
	}
	if l.coap, err = net.ListenPacket("udp", h.config.CoAP); err != nil {
		return l, fmt.Errorf("serve CoAP: %w", err)
	}
	if l.admin, err = listenAdmin(filepath.Join(h.dir, socketFile)); err != nil {
		return l, fmt.Errorf("serve the operator's socket: %w", err)
	}
	return l, nil
}

func (t *tool) run(cmd *cobra.Command, h *house, log *slog.Logger) error {
	l, err := h.listen()
	if err != nil {
		return err
	}
	pages, err := console.New(h.server, log)
	if err != nil {
		return err
	}
	engine := delivery.New(h.store, delivery.Options{Rand: rand.Reader, Now: time.Now, Log: log})
	h.server.SetDeliverer(engine)
	endpoint := coapsec.NewEndpoint(l.coap, coapapi.New(h.server, engine, log), coapsec.EndpointOptions{Log: log})
	engine.Use(endpoint)

	group, ctx := errgroup.WithContext(cmd.Context())
	group.Go(func() error { return endpoint.Serve(ctx) })
	serveHTTP(ctx, group, l.http, httpapi.New(h.server, pages, log))
	serveHTTP(ctx, group, l.admin, adminHandler(h.server, log))
	if err := t.say(cmd.OutOrStdout(), map[string]string{"issuer": h.config.Issuer, "http": l.http.Addr().String(), "coap": l.coap.LocalAddr().String()},
		"serving %s on http://%s and coap://%s", h.config.Issuer, l.http.Addr(), l.coap.LocalAddr()); err != nil {
		return err
	}
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// serveHTTP serves until ctx ends, then lets running requests finish for a while.
func serveHTTP(ctx context.Context, group *errgroup.Group, l net.Listener, h http.Handler) {
	server := httpapi.Serve(h)
	group.Go(func() error {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
		defer cancel()
		return server.Shutdown(drain)
	})
}
