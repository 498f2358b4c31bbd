// Command healthmonitor is the reference offline medical device: CoAP over a short-range radio link, no network, no
// clock. It starts from its provisioning file and takes tokens that a phone brings.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/latchkey-ace/latchkey/internal/checks"
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

const (
	maxUpload   = 4096 // bytes of an assembled upload; a JWT has under 1.5 KiB
	maxSettings = 64   // bytes
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "healthmonitor:", err)
		os.Exit(1)
	}
}

type options struct {
	provision string
	link      string
	state     string
	json      bool
}

func command() *cobra.Command {
	var o options
	c := &cobra.Command{
		Use:           "healthmonitor",
		Short:         "An offline medical device on CoAP over GATT",
		Example:       "  healthmonitor --provision monitor.lkp --link unix:/run/monitor.sock --state ./monitor-state",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), o) },
	}
	c.Flags().StringVar(&o.provision, "provision", "", "the provisioning file that latchkey device add wrote")
	c.Flags().StringVar(&o.link, "link", "", "the radio: unix:PATH")
	c.Flags().StringVar(&o.state, "state", "healthmonitor-state", "folder for what must survive a restart")
	c.Flags().BoolVar(&o.json, "json", false, "print events as JSON, one a line")
	return c
}

func run(ctx context.Context, o options) error {
	events := &printer{json: o.json}
	for _, name := range checks.Off() {
		events.print(event{Event: "warning", Reason: "TEST BUILD: the check " + name + " is off"})
	}
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
	server, err := newServer(d, store, events)
	if err != nil {
		return err
	}
	return serve(ctx, path, server, events)
}

// newServer furnishes the resource server with the monitor's two actions.
func newServer(d *provision.Device, store resource.Store, events *printer) (*resource.Server, error) {
	clock, err := device.NewClock()
	if err != nil {
		return nil, err
	}
	c := resource.Config{Device: d, Store: store, Clock: clock}
	if d.Token == provision.ShapeJWT {
		if c.Opener, err = jwt.New(d); err != nil {
			return nil, err
		}
	}
	server, err := resource.New(c, resource.Options{RequireCNonce: d.RequireCNonce, OnLog: events.access})
	if err != nil {
		return nil, err
	}
	m := &monitor{events: events, settings: "interval=300"}
	return server, errors.Join(server.Handle("view", m.view), server.Handle("configure", m.configure))
}

func serve(ctx context.Context, path string, server *resource.Server, events *printer) error {
	l, err := gatt.Listen(path)
	if err != nil {
		return err
	}
	api := coapapi.New(server, coapapi.Options{})
	bounds := coapsec.BlockwiseOptions{MaxBody: maxUpload}
	security := coapsec.NewSecurity(api, coapsec.Blockwise(api.Plain(), bounds), coapsec.Blockwise(api.Protected(), bounds), coapsec.SecurityOptions{Refused: events.refused})
	events.print(event{Event: "listening", Address: path})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return gatt.Serve(ctx, l, security, gatt.Options{}) })
	group.Go(func() error { server.Run(ctx, events.fault); return nil })
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// monitor measures and can be set.
type monitor struct {
	mu       sync.Mutex
	events   *printer
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
	m.events.print(event{Event: "settings", State: m.settings})
	return resource.Answer{Format: message.TextPlain, Payload: []byte(m.settings)}, nil
}

// event is one line of output.
type event struct {
	Event   string    `json:"event"`
	At      time.Time `json:"at,omitzero"`
	Address string    `json:"address,omitempty"`
	State   string    `json:"state,omitempty"`
	Grant   string    `json:"grant,omitempty"`
	Action  string    `json:"action,omitempty"`
	Result  string    `json:"result,omitempty"`
	Reason  string    `json:"reason,omitempty"`
}

type printer struct {
	mu   sync.Mutex
	json bool
}

func (p *printer) print(e event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.json {
		_ = json.NewEncoder(os.Stdout).Encode(e) // a monitor goes on when nobody reads
		return
	}
	fmt.Println(strings.Join(strings.Fields(strings.Join([]string{e.Event, e.Address, e.State, e.Action, e.Result, e.Reason}, "  ")), " "))
}

func (p *printer) access(e resource.Entry) {
	p.print(event{Event: "access", At: e.Time, Grant: fmt.Sprintf("%x", e.Grant), Action: e.Action, Result: e.Result.String(), Reason: e.Reason})
}

func (p *printer) refused(address string, why error) {
	p.print(event{Event: "access", Address: address, Result: resource.Refused.String(), Reason: why.Error()})
}

func (p *printer) fault(err error) { p.print(event{Event: "fault", Reason: err.Error()}) }
