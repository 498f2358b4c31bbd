package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/latchkey-ace/latchkey/authz/clientauth"
	"github.com/latchkey-ace/latchkey/authz/housekeeping"
	"github.com/latchkey-ace/latchkey/authz/httpapi"
	"github.com/latchkey-ace/latchkey/cmd/internal/command"
	"github.com/latchkey-ace/latchkey/storage/device"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

// mediatorFlags are the flags of mediator.
type mediatorFlags struct {
	endpoints map[string]*string
	secrets   []string
}

func (t *tool) mediatorCommand() *cobra.Command {
	f := mediatorFlags{endpoints: map[string]*string{}}
	c := &cobra.Command{
		Use:   "mediator",
		Short: "Stand before another authorization server, and hold its client secrets for the apps",
		Long: "Runs a server that grants nothing itself. Apps ask it as they would ask the other server, and show themselves (integrity_token,\n" +
			"attest_jwt_client_auth); it checks who vouches for them, adds the client's secret, and forwards the request, once.\n\n" +
			"It has a folder of its own, as serve has (latchkey init), with its settings (http, tls_cert, attesters, admin …) in latchkey.toml\n" +
			"and its clients: latchkey client add app --auth-method integrity_token --attester NAME. A client has the same id at the\n" +
			"other server, which knows it by the secret as HTTP Basic.",
		Example: "  latchkey mediator --data ./mediator --token https://as.example/oauth/token --secret door-app=door-app.secret",
		Args:    command.None,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if t.data == "" {
				return errNoData
			}
			return t.mediator(cmd, f)
		},
	}
	for _, name := range httpapi.Mediated {
		f.endpoints[name] = c.Flags().String(strings.ReplaceAll(name, "_", "-"), "", "the other server's "+endpointWords[name]+"; without it there is none here")
	}
	c.Flags().StringArrayVar(&f.secrets, "secret", nil, "CLIENT=FILE: the file with a client's secret for the other server, for its owner alone; may be given again")
	return c
}

// endpointWords say what each endpoint is for.
var endpointWords = map[string]string{
	"token": "token endpoint", "par": "endpoint for pushed requests", "device_authorization": "endpoint for other screens", "revoke": "endpoint that ends tokens",
}

func (t *tool) mediator(cmd *cobra.Command, f mediatorFlags) error {
	command.IgnoreClosedOutput()
	to, err := f.mediation()
	if err != nil {
		return err
	}
	c, err := loadConfig(t.data, nil)
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
	h, err := openHouse(cmd.Context(), t.data, c, houseOptions{log: s.log, observe: s.metrics.Observe, migrate: true})
	if err != nil {
		return err
	}
	defer h.Close()
	if err := mediates(cmd.Context(), h, to); err != nil {
		return err
	}
	door, err := httpapi.NewMediator(h.server, s.log, httpapi.Options{Roots: s.clientRoots, Attesters: s.trusted.Attesters, Platforms: s.trusted.Platforms}, to)
	if err != nil {
		return err
	}
	s.front.Store(&door)
	s.ready = func() error {
		return t.say(cmd.OutOrStdout(), map[string]string{"mediator": c.Issuer, "http": s.http.Addr().String(), "token": to.Endpoints["token"].String()},
			"a mediator at %s, on %s, before %s", c.Issuer, s.http.Addr(), to.Endpoints["token"])
	}
	return s.mediate(cmd.Context(), h)
}

// mediation reads the flags.
func (f *mediatorFlags) mediation() (to httpapi.Mediation, err error) {
	to = httpapi.Mediation{Endpoints: map[string]*url.URL{}, Secrets: map[string]string{}}
	for _, name := range httpapi.Mediated {
		if text := *f.endpoints[name]; text != "" {
			if to.Endpoints[name], err = otherServer(text); err != nil {
				return to, fmt.Errorf("--%s: %w", strings.ReplaceAll(name, "_", "-"), err)
			}
		}
	}
	if to.Endpoints["token"] == nil {
		return to, errors.New("say where the other server gives tokens: --token https://as.example/token")
	}
	for _, text := range f.secrets {
		client, path, ok := strings.Cut(text, "=")
		if _, twice := to.Secrets[client]; !ok || client == "" || path == "" || twice {
			return to, fmt.Errorf("--secret %q: CLIENT=FILE, each client once", text)
		}
		secret, err := device.ReadSecretFile(path)
		if err != nil {
			return to, fmt.Errorf("--secret %s: %w", client, err)
		}
		if to.Secrets[client] = string(bytes.TrimSpace(secret)); to.Secrets[client] == "" {
			return to, fmt.Errorf("--secret %s: %s is empty", client, path)
		}
	}
	if len(to.Secrets) == 0 {
		return to, errors.New("say which clients have a secret at the other server: --secret CLIENT=FILE")
	}
	return to, nil
}

// otherServer is an address to which a secret may be sent.
func otherServer(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("give the address of an endpoint, without user and password, like https://as.example/token") // it may hold a password
	case u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname())):
		return nil, fmt.Errorf("%q: the client's secret goes over https, or to this machine", text)
	}
	return u, nil
}

// mediates refuses a client that could not be let through.
func mediates(ctx context.Context, h *house, to httpapi.Mediation) error {
	for id := range to.Secrets {
		c, err := h.store.Client(ctx, id)
		if err != nil {
			return fmt.Errorf("--secret %s: %w; latchkey client add %s --auth-method integrity_token --attester NAME", id, err, id)
		}
		if err := clientauth.Check(&c); err != nil || !c.Attested() {
			return fmt.Errorf("--secret %s: the client does not show itself; register it with --auth-method integrity_token or attest_jwt_client_auth", id)
		}
	}
	return nil
}

// mediate serves until ctx ends, then lets what has begun finish.
func (s *service) mediate(ctx context.Context, h *house) (err error) {
	if s.http, err = net.Listen("tcp", s.config.HTTP); err != nil {
		return fmt.Errorf("serve HTTP: %w", err)
	}
	if s.config.Admin != "" {
		if s.watched, err = net.Listen("tcp", s.config.Admin); err != nil {
			return fmt.Errorf("serve admin: %w", err)
		}
	}
	public, err := s.publicServer()
	if err != nil {
		return err
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	group, alive := errgroup.WithContext(life)
	watched := httpapi.Serve(s.healthHandler())
	serveHTTP(group, public, s.http)
	if s.watched != nil {
		serveHTTP(group, watched, s.watched)
	}
	s.house.Store(h)
	s.phase.Store(serving)
	keeper := housekeeping.New(h.store, housekeeping.Options{Log: s.log, Removed: s.metrics.Removed})
	group.Go(func() error { return keeper.Run(alive) })
	if s.certificates != nil {
		group.Go(func() error { return s.certificates.watch(alive, s.log) })
	}
	if err = s.ready(); err == nil {
		select {
		case <-ctx.Done():
		case <-alive.Done():
		}
		s.drain(public, nil)
	}
	end()
	for _, server := range []*http.Server{public, watched} {
		_ = server.Close() // what is left of it: the drain is over
	}
	if broken := group.Wait(); err == nil && !errors.Is(broken, context.Canceled) && !errors.Is(broken, http.ErrServerClosed) {
		err = broken
	}
	return err
}
