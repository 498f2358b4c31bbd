// Command healthmonitor is the reference offline medical device: CoAP over a short-range radio link, no network, no
// clock. It starts from its provisioning file and takes tokens that a phone brings.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/latchkey-ace/latchkey/cmd/internal/command"
	"github.com/latchkey-ace/latchkey/cmd/internal/event"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/resource"
	"github.com/latchkey-ace/latchkey/resource/coapapi"
	"github.com/latchkey-ace/latchkey/resource/gatt"
	"github.com/latchkey-ace/latchkey/resource/jwt"
	"github.com/latchkey-ace/latchkey/storage/device"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

const maxSettings = 64 // bytes

func main() { command.Main(root(), nil) }

type options struct {
	provision string
	link      string
	state     string
	json      bool
}

func root() *cobra.Command {
	var o options
	c := &cobra.Command{
		Use:     "healthmonitor",
		Short:   "An offline medical device on CoAP over GATT",
		Example: "  healthmonitor --provision monitor.lkp --link unix:/run/monitor.sock --state ./monitor-state",
		Args:    command.None,
		RunE:    func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), o) },
	}
	c.Flags().StringVar(&o.provision, "provision", "", "the provisioning file that latchkey device add wrote")
	c.Flags().StringVar(&o.link, "link", "", "the radio: unix:PATH")
	c.Flags().StringVar(&o.state, "state", "healthmonitor-state", "folder for what must survive a restart")
	c.Flags().BoolVar(&o.json, "json", false, "print events as JSON, one a line")
	return c
}

func run(ctx context.Context, o options) error {
	command.IgnoreClosedOutput()
	events := event.New(os.Stdout, event.Options{JSON: o.json})
	path, ok := strings.CutPrefix(o.link, "unix:")
	if !ok || o.provision == "" {
		return errors.New("say where the provisioning file and the radio are: --provision FILE --link unix:PATH")
	}
	data, err := device.ReadSecretFile(o.provision)
	if err != nil {
		return err
	}
	d, err := provision.Parse(data)
	if err != nil {
		return fmt.Errorf("%s: %w", o.provision, err)
	}
	store, err := device.Open(o.state)
	if err != nil {
		return err
	}
	defer store.Close()
	clock, err := device.NewClock()
	if err != nil {
		return err
	}
	server, err := newServer(resource.Config{Device: d, Store: store, Clock: clock}, events)
	if err != nil {
		return err
	}
	api := coapapi.New(server, coapapi.Options{})
	security := api.Security(coapsec.SecurityOptions{Now: clock.Now, Refused: events.Refused})
	return serve(ctx, path, server, security, events)
}

// newServer furnishes the resource server with the monitor's two actions.
func newServer(c resource.Config, events *event.Printer) (*resource.Server, error) {
	var err error
	if c.Device.Token == provision.ShapeJWT {
		if c.Opener, err = jwt.New(c.Device); err != nil {
			return nil, err
		}
	}
	server, err := resource.New(c, resource.Options{OnLog: func(e resource.Entry) { events.Print(event.Access(e)) }})
	if err != nil {
		return nil, err
	}
	return server, furnish(server, c.Device, &monitor{events: events, settings: "interval=300"})
}

// furnish gives each named action its part of the monitor. A name we do not know is a mistake in the device's record.
func furnish(server *resource.Server, d *provision.Device, of *monitor) error {
	parts := map[string]resource.Action{"view": of.view, "configure": of.configure}
	for _, a := range d.Actions {
		do, ok := parts[a.Name]
		if !ok {
			return fmt.Errorf("this monitor cannot %s; it can view and configure", a.Name)
		}
		if err := server.Handle(a.Name, do); err != nil {
			return err
		}
	}
	return nil
}

func serve(ctx context.Context, path string, server *resource.Server, security coapsec.Handler, events *event.Printer) error {
	l, err := gatt.Listen(path)
	if err != nil {
		return err
	}
	events.Print(event.Event{Event: "listening", Address: path})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return gatt.Serve(ctx, l, security, gatt.Options{}) })
	group.Go(func() error { server.Run(ctx, events.Fault); return nil })
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// monitor measures and can be set.
type monitor struct {
	mu       sync.Mutex
	events   *event.Printer
	settings string
}

func (m *monitor) view(context.Context, resource.Call) (resource.Answer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return resource.Answer{Format: message.TextPlain, Payload: []byte("pulse 62 bpm, " + m.settings)}, nil
}

func (m *monitor) configure(_ context.Context, c resource.Call) (resource.Answer, error) {
	if len(c.Payload) == 0 || len(c.Payload) > maxSettings {
		return resource.Answer{Code: codes.BadRequest, Format: message.TextPlain, Payload: []byte("settings have 1 to 64 bytes")}, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settings = string(c.Payload)
	m.events.Print(event.Event{Event: "settings", State: m.settings})
	return resource.Answer{Format: message.TextPlain, Payload: []byte(m.settings)}, nil
}
