// Command doorlock is the reference door lock: a thin program on package resource. It starts from its provisioning
// file, registers with its authorization server, takes tokens and keys from it, and moves a bolt that prints.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/latchkey-ace/latchkey/cmd/internal/command"
	"github.com/latchkey-ace/latchkey/cmd/internal/event"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/resource"
	"github.com/latchkey-ace/latchkey/resource/coapapi"
	"github.com/latchkey-ace/latchkey/storage/device"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

func main() { command.Main(root(), nil) }

type options struct {
	provision  string
	listen     string
	listenDTLS string
	state      string
	lifetime   time.Duration
	introspect bool
	genuine    genuine
	json       bool
	verbose    bool
}

func root() *cobra.Command {
	var o options
	c := &cobra.Command{
		Use:   "doorlock",
		Short: "A door lock on CoAP with OSCORE or DTLS",
		Long: "Runs the reference door lock. Phones reach it under OSCORE, or under DTLS on an address of its own if it was added\n" +
			"with --profile coap_dtls. Its server calls it on the first address in either case.",
		Example: "  doorlock --provision front-door.lkp --listen 0.0.0.0:5683 --state ./front-door-state\n" +
			"  doorlock --provision back-door.lkp --listen 0.0.0.0:5683 --listen-dtls 0.0.0.0:5684 --state ./back-door-state\n" +
			"  doorlock --provision safe.lkp --vouched unlock --attester-keys attester.jwks --attester https://attest.example --app door-app",
		Args: command.None,
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), o) },
	}
	c.Flags().StringVar(&o.provision, "provision", "", "the provisioning file that latchkey device add wrote")
	c.Flags().StringVar(&o.listen, "listen", "127.0.0.1:0", "UDP address to listen on")
	c.Flags().StringVar(&o.listenDTLS, "listen-dtls", "", "UDP address for DTLS (default: the port after that of --listen)")
	c.Flags().StringVar(&o.state, "state", "doorlock-state", "folder for what must survive a restart")
	c.Flags().DurationVar(&o.lifetime, "lifetime", time.Minute, "how long a registration is to hold; it is renewed at a third of it")
	c.Flags().BoolVar(&o.introspect, "introspect", false, "ask the server about each token, for a lock that was added with --delivery introspect")
	o.genuine.add(c.Flags())
	c.Flags().BoolVar(&o.json, "json", false, "print events as JSON, one a line")
	c.Flags().BoolVarP(&o.verbose, "verbose", "v", false, "print the messages of the server's channel, decoded")
	return c
}

// lock is the program put together.
type lock struct {
	options
	device *provision.Device
	clock  device.Clock
	server *resource.Server
	events *event.Printer
	asker  coapapi.Asker // set before serving
}

// run wires provisioning file, state, socket and bolt, and serves until ctx ends.
func run(ctx context.Context, o options) error {
	command.IgnoreClosedOutput()
	l := &lock{options: o, events: event.New(os.Stdout, event.Options{JSON: o.json, Gap: "  "})}
	if o.lifetime < time.Second {
		return errors.New("--lifetime: give at least 1s")
	}
	var err error
	if l.device, err = load(o.provision); err != nil {
		return err
	}
	if l.listenDTLS, err = o.placeDTLS(l.device); err != nil {
		return err
	}
	rules := resource.Options{OnLog: logTo(l.events)}
	if err := o.genuine.demand(&rules, provision.Audience(l.device.ID)); err != nil {
		return err
	}
	store, err := device.Open(o.state)
	if err != nil {
		return err
	}
	defer store.Close()
	if l.clock, err = device.NewClock(); err != nil {
		return err
	}
	if o.introspect {
		rules.Introspect = func(ctx context.Context, token []byte) (*pop.Claims, error) { return l.asker.Introspect(ctx, token) }
	}
	l.server, err = resource.New(resource.Config{Device: l.device, Store: store, Clock: l.clock}, rules)
	if err != nil {
		return err
	}
	if err := furnish(l.server, l.device, newDoor(l.events)); err != nil {
		return err
	}
	return l.serve(ctx)
}

// logTo prints decisions with the number of the boot, which orders them where the time is not known.
func logTo(events *event.Printer) func(resource.Entry) {
	return func(e resource.Entry) {
		access := event.Access(e)
		access.Boot = e.Boot
		events.Print(access)
	}
}

func load(path string) (*provision.Device, error) {
	if path == "" {
		return nil, errors.New("say where the provisioning file is: --provision FILE")
	}
	data, err := device.ReadSecretFile(path)
	if err != nil {
		return nil, err
	}
	d, err := provision.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if d.Token == provision.ShapeJWT {
		return nil, fmt.Errorf("%s: this lock takes no JWTs; add the device with --token encrypt0, sign1 or sign1-ecdh", path)
	}
	return d, nil
}

func (l *lock) serve(ctx context.Context) error {
	conn, err := net.ListenPacket("udp", l.listen)
	if err != nil {
		return fmt.Errorf("--listen %s: %w", l.listen, err)
	}
	params, err := l.device.ChannelParams()
	if err != nil {
		return err
	}
	channel := coapsec.NewChannel(params, coapsec.ChannelOptions{Device: true})
	api := coapapi.New(l.server, coapapi.Options{Channel: channel, ChannelID: params.RecipientID, Refused: l.events.Refused})
	protected := api.Protected()
	if l.verbose {
		protected = shown(l.events, channel, protected)
	}
	security := coapsec.NewSecurity(api,
		coapsec.Blockwise(strangers(l.events, api.Plain()), coapsec.BlockwiseOptions{}),
		coapsec.Blockwise(protected, coapsec.BlockwiseOptions{}),
		coapsec.SecurityOptions{Now: l.clock.Now, Refused: l.events.Refused})
	endpoint := coapsec.NewEndpoint(conn, security, coapsec.EndpointOptions{})
	secured, err := l.openDTLS(api, security)
	if err != nil {
		return err
	}
	open := doors(endpoint, secured)
	for _, d := range open {
		l.events.Print(event.Event{Event: "listening", Address: d.at.String(), State: d.under})
	}
	registrar, err := l.registrar(channel, endpoint, open)
	if err != nil {
		return err
	}
	l.asker = coapapi.Asker{Channel: channel, Peers: registrar.Peers}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return endpoint.Serve(ctx) })
	if secured != nil {
		group.Go(func() error { return secured.Serve(ctx) })
	}
	group.Go(func() error { registrar.Run(ctx); return nil })
	group.Go(func() error { l.server.Run(ctx, l.events.Fault); return nil })
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// registrar calls the server from the lock's own socket, so that pushes come back the same way.
func (l *lock) registrar(channel *coapsec.Channel, endpoint *coapsec.Endpoint, doors []phoneDoor) (*coapapi.Registrar, error) {
	r := &coapapi.Registrar{
		Server: l.server, Channel: channel, Lifetime: l.lifetime, OnError: l.events.Fault,
		URIs:         func() []string { return localURIs(doors) },
		OnRegistered: func(ace.RegisterAnswer) { l.events.Print(event.Event{Event: "registered"}) },
	}
	for _, uri := range l.device.ASURIs {
		peer, err := newUplink(endpoint, uri)
		if err != nil {
			return nil, fmt.Errorf("authorization server %s: %w", uri, err)
		}
		r.Peers = append(r.Peers, peer)
	}
	return r, nil
}
