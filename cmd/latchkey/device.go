package main

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/attest"
	"github.com/latchkey-ace/latchkey/cmd/internal/command"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/spf13/cobra"
)

// deviceFlags are the flags of device add.
type deviceFlags struct {
	owner, kind, delivery, profile, clock, token, out, resource, importFile string
	actions, demands                                                        []string
	exi                                                                     time.Duration
	requireCNonce                                                           bool
}

func (t *tool) deviceCommand() *cobra.Command {
	var f deviceFlags
	add := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a device and write its provisioning file",
		Long: "Adds a device, makes its keys and writes them to a provisioning file (0600) that belongs on the device and\n" +
			"nowhere else. The keys are shown only in that file.\n\n" +
			"A device of the profile coap_oscore protects each message (RFC 9203); one of coap_dtls is spoken to over DTLS with\n" +
			"the key of the token (RFC 9202). Only --token encrypt0 hides such a key. The server's own channel is the same for both.\n\n" +
			"With --delivery http it is an HTTP API instead: its tokens are JWTs (RFC 9068) for the address --resource, bound to a key\n" +
			"of the app, and it needs no file.",
		Example: "  latchkey device add front-door --owner alice --kind lock --action 'view=/door:GET' --action 'unlock=/door/unlock:POST' --action 'disarm=/alarm/disarm:POST' --out front-door.lkp\n" +
			"  latchkey device add back-door --owner alice --kind lock --profile coap_dtls --action 'unlock=/door/unlock:POST' --out back-door.lkp\n" +
			"  latchkey device add monitor --owner carol --kind medical --token sign1-ecdh --exi 8h --action 'view=/measurements:GET' --action 'configure=/settings:PUT' --out monitor.lkp\n" +
			"  latchkey device add calendar --owner alice --delivery http --resource https://calendar.example/v1 --action 'read=/events:GET' --action 'write=/events:POST'",
		Args: command.One,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.delivery == string(authz.DeliveryHTTP) {
				return t.addAPI(cmd, args[0], f)
			}
			return t.addDevice(cmd, args[0], f)
		},
	}
	fl := add.Flags()
	fl.StringVar(&f.owner, "owner", "", "the person whose device it is")
	fl.StringVar(&f.kind, "kind", "generic", "lock, medical or generic")
	fl.StringVar(&f.delivery, "delivery", "", "push (over its channel), embed (inside the token), introspect (the device asks the server about each token, as doorlock --introspect does) or http (no device but an HTTP API); default push for a lock, else embed")
	fl.StringVar(&f.profile, "profile", pop.ProfileCoAPOSCORE.String(), "how phones talk to it: coap_oscore or coap_dtls")
	fl.StringVar(&f.clock, "clock", "", "synced, relative or none; default synced for a lock, else none")
	fl.StringVar(&f.token, "token", "", "encrypt0, sign1, sign1-ecdh or jwt; default encrypt0 for a lock and for coap_dtls, else sign1")
	fl.DurationVar(&f.exi, "exi", 0, "how long a device without a clock honours a token it has accepted (default 8h)")
	fl.BoolVar(&f.requireCNonce, "require-cnonce", false, "tokens must carry a nonce fetched from the device")
	fl.StringArrayVar(&f.actions, "action", nil, "NAME=/path:METHOD[,METHOD…]; once for each action")
	fl.StringArrayVar(&f.demands, "demand", nil, "what an app must be to have an action, as in unlock=key=hardware,os=verified,age=5m,kind=key-attestation; once for each action")
	fl.StringVar(&f.resource, "resource", "", "with --delivery http: the API's address, which is the aud of its tokens")
	fl.StringVar(&f.importFile, "import", "", "the OSCORE material of a channel that the device has already, in a JSON file of mode 0600: master_secret, master_salt, client_id (the device) and server_id in hex")
	fl.StringVar(&f.out, "out", "", "where to write the provisioning file")
	list := &cobra.Command{Use: "list", Short: "List devices", Example: "  latchkey device list", Args: command.None, RunE: func(cmd *cobra.Command, _ []string) error { return t.listDevices(cmd) }}
	return command.Group("device", "Devices", "  latchkey device list", add, list, t.demandCommand())
}

func (t *tool) demandCommand() *cobra.Command {
	var texts []string
	var none bool
	c := &cobra.Command{
		Use:   "demand NAME",
		Short: "Say what an app must be to have the actions of a device",
		Long: "Replaces what the actions of a device ask of apps, from the next token on; what is out works until it ends. A demand holds for\n" +
			"every client, also for one without a person. docs/attestation.md has the parts of a demand.",
		Example: "  latchkey device demand front-door --demand unlock=key=hardware,os=verified --demand disarm=age=5m\n  latchkey device demand front-door --none",
		Args:    command.One,
		RunE: func(cmd *cobra.Command, args []string) error {
			if none == (len(texts) > 0) {
				return errors.New("give --demand ACTION=… for each action that asks for something, or --none")
			}
			return t.demand(cmd, args[0], texts)
		},
	}
	c.Flags().StringArrayVar(&texts, "demand", nil, "ACTION=key=hardware,os=verified,age=5m,kind=key-attestation; once for each action")
	c.Flags().BoolVar(&none, "none", false, "ask for nothing")
	return c
}

func (t *tool) demand(cmd *cobra.Command, name string, texts []string) error {
	h, err := t.open(cmd.Context())
	if err != nil {
		return err
	}
	defer h.Close()
	d, err := h.store.DeviceByName(cmd.Context(), name)
	if errors.Is(err, authz.ErrNotFound) {
		return fmt.Errorf("there is no device %q: latchkey device list shows them", name)
	}
	if err != nil {
		return err
	}
	demands, err := parseDemands(&d, texts)
	if err != nil {
		return err
	}
	if err := h.store.SetDemands(cmd.Context(), d.ID, demands); err != nil {
		return err
	}
	if err := h.note(cmd.Context(), authz.AuditEntry{Event: "device.demand", Device: d.Audience(), Reason: strings.Join(texts, " ")}); err != nil {
		return err
	}
	d.Demands = demands
	return t.say(cmd.OutOrStdout(), map[string]any{"device": name, "demands": demandsOf(&d)}, "%s asks of apps: %s", name, orNone(demandsOf(&d), "nothing"))
}

// demandsOf are what a device asks of apps, in the order of its actions.
func demandsOf(d *authz.Device) []string {
	all := []string{}
	for _, a := range d.Actions {
		if demand, ok := d.Demands[a.Name]; ok {
			all = append(all, a.Name+" "+demand.String())
		}
	}
	return all
}

func (f *deviceFlags) fill() {
	lock := f.kind == "lock"
	pick := func(s *string, forLock, other string) {
		if *s == "" {
			*s = other
			if lock {
				*s = forLock
			}
		}
	}
	pick(&f.delivery, string(authz.DeliveryPush), string(authz.DeliveryEmbed))
	pick(&f.clock, "synced", "none")
	if f.token == "" && f.profile == pop.ProfileCoAPDTLS.String() {
		f.token = provision.ShapeEncrypt0.String()
	}
	pick(&f.token, "encrypt0", "sign1")
}

// device turns the flags into a record without keys.
func (f deviceFlags) device(name string) (d authz.Device, err error) {
	f.fill()
	d = authz.Device{Name: name, Owner: f.owner, Delivery: authz.Delivery(f.delivery), ExpiresIn: f.exi, RequireCNonce: f.requireCNonce, CreatedAt: time.Now()}
	if err := checkName("device", name); err != nil {
		return d, err
	}
	if d.Profile, err = parseProfile(f.profile); err != nil {
		return d, err
	}
	if d.Kind, err = provision.ParseKind(f.kind); err != nil {
		return d, err
	}
	if d.Clock, err = provision.ParseClock(f.clock); err != nil {
		return d, err
	}
	if d.Shape, err = provision.ParseShape(f.token); err != nil {
		return d, err
	}
	if d.Actions, err = parseActions(f.actions); err != nil {
		return d, err
	}
	if d.Demands, err = parseDemands(&d, f.demands); err != nil {
		return d, err
	}
	if err := f.check(d); err != nil {
		return d, err
	}
	return d, f.channel(&d)
}

func parseProfile(name string) (pop.Profile, error) {
	for _, p := range []pop.Profile{pop.ProfileCoAPDTLS, pop.ProfileCoAPOSCORE} {
		if p.String() == name {
			return p, nil
		}
	}
	return 0, fmt.Errorf("--profile %q is not available; there are coap_oscore and coap_dtls", name)
}

func (f deviceFlags) check(d authz.Device) error {
	switch {
	case f.resource != "":
		return errors.New("--resource goes with --delivery http")
	case f.out == "":
		return errors.New("say where to write the provisioning file: --out FILE")
	case d.Profile == pop.ProfileCoAPDTLS && d.Shape != provision.ShapeEncrypt0:
		return fmt.Errorf("--profile coap_dtls: tokens of shape %s hold no DTLS key; use --token encrypt0, or --profile coap_oscore", d.Shape)
	case !slices.Contains([]authz.Delivery{authz.DeliveryPush, authz.DeliveryEmbed, authz.DeliveryIntrospect}, d.Delivery):
		return fmt.Errorf("delivery %q is not available; there are push, embed, introspect and http", f.delivery)
	case f.exi < 0 || f.exi > authz.MaxEXI || f.exi%time.Second != 0:
		return errors.New("--exi: whole seconds, at most a year")
	case f.owner == "":
		return errors.New("say whose device it is: --owner USER")
	case f.exi != 0 && d.Clock == provision.ClockSynced:
		return errors.New("--exi is for devices without a clock")
	case strings.HasPrefix(d.Audience(), d.Name):
		return fmt.Errorf("device %q: another name, please; this one looks like a device id", d.Name)
	}
	return nil
}

func parseActions(texts []string) ([]provision.Action, error) {
	if len(texts) == 0 {
		return nil, errors.New("say what it can do: --action 'unlock=/door/unlock:POST'")
	}
	var actions []provision.Action
	for _, text := range texts {
		a, err := provision.ParseAction(text)
		if err != nil {
			return nil, fmt.Errorf("--action: %w; the form is NAME=/path:METHOD", err)
		}
		for _, other := range actions {
			if other.Name == a.Name || other.Path == a.Path && other.Methods&a.Methods != 0 {
				return nil, fmt.Errorf("--action %s is there twice", a)
			}
		}
		actions = append(actions, a)
	}
	return actions, nil
}

// parseDemands reads what actions ask of an app.
func parseDemands(d *authz.Device, texts []string) (all map[string]attest.Demand, err error) {
	for _, text := range texts {
		action, rest, _ := strings.Cut(text, "=")
		demand, err := attest.ParseDemand(rest)
		if _, known := d.Action(action); err == nil && !known {
			err = fmt.Errorf("there is no action %q", action)
		}
		if _, twice := all[action]; err == nil && twice {
			err = fmt.Errorf("action %q is there twice", action)
		}
		if err != nil {
			return nil, fmt.Errorf("--demand %.128q: %w; the form is ACTION=key=hardware,os=verified", text, err)
		}
		if all == nil {
			all = map[string]attest.Demand{}
		}
		all[action] = demand
	}
	return all, nil
}

func (t *tool) addDevice(cmd *cobra.Command, name string, f deviceFlags) error {
	d, err := f.device(name)
	if err != nil {
		return err
	}
	h, err := t.open(cmd.Context())
	if err != nil {
		return err
	}
	defer h.Close()
	if err := h.checkNew(cmd.Context(), d); err != nil {
		return err
	}
	file, err := h.provision(cmd.Context(), &d)
	if err != nil {
		return err
	}
	// The file first: a record without its file would be a device nobody can start.
	if err := writeNew(f.out, file); err != nil {
		return fmt.Errorf("--out: %w; a provisioning file is never overwritten, give a new name in a folder that exists", err)
	}
	if err := h.store.AddDevice(cmd.Context(), d); err != nil {
		if errors.Is(err, authz.ErrExists) { // added since we looked; the file has the keys of no device
			return errors.Join(taken(err), os.Remove(f.out))
		}
		return fmt.Errorf("device %s: %w; if device list does not show it, delete %s", name, err, f.out)
	}
	if err := h.note(cmd.Context(), authz.AuditEntry{Event: "device.add", User: d.Owner, Device: d.Audience()}); err != nil {
		return err
	}
	return t.say(cmd.OutOrStdout(), map[string]string{"device": name, "audience": d.Audience(), "file": f.out},
		"added %s as %s\nwrote its keys to %s; put that file on the device and nowhere else", name, d.Audience(), f.out)
}

// checkNew refuses before anything is written.
func (h *house) checkNew(ctx context.Context, d authz.Device) error {
	switch _, err := h.store.User(ctx, d.Owner); {
	case errors.Is(err, authz.ErrNotFound):
		return fmt.Errorf("--owner %q: there is no such person; add them first: latchkey user add", d.Owner)
	case err != nil:
		return err
	}
	switch _, err := h.store.DeviceByName(ctx, d.Name); {
	case err == nil:
		return taken(fmt.Errorf("device %q: %w", d.Name, authz.ErrExists))
	case !errors.Is(err, authz.ErrNotFound):
		return err
	}
	return nil
}

// provision makes the device's keys: into the record and into the bytes of its file (D23).
func (h *house) provision(ctx context.Context, d *authz.Device) ([]byte, error) {
	p := provision.Device{
		Version: provision.Version,
		ASURIs:  []string{h.config.coapURI()}, Issuer: h.config.Issuer, Kind: d.Kind, Clock: d.Clock, Token: d.Shape,
		Actions: d.Actions, RecipientID: provision.ServerSenderID, RequireCNonce: d.RequireCNonce, Profile: d.Profile,
	}
	var err error
	if p.ASKeys, d.SigningKeys, err = h.server.DeviceKeys(ctx); err != nil {
		return nil, err
	}
	p.SenderID = make([]byte, provision.SenderIDSize)
	if c := d.Channel; c != nil {
		p.SenderID, p.RecipientID, p.MasterSecret, p.MasterSalt = nil, c.ServerID, c.MasterSecret, c.MasterSalt
	}
	for _, b := range [][]byte{p.ID[:], p.RootKey[:], p.SenderID} {
		if _, err := rand.Read(b); err != nil {
			return nil, err
		}
	}
	if d.Shape == provision.ShapeSign1ECDH || d.Shape == provision.ShapeJWT {
		private, err := ecdh.P256().GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		p.PrivateKey, d.PublicKey = private, private.PublicKey().Bytes()
	}
	if d.Channel != nil {
		p.SenderID = d.Channel.PeerID
	}
	d.ID, d.RootKey, d.SenderID = p.ID, p.RootKey[:], p.SenderID
	return p.Encode()
}

// deviceLine is one line of device list.
type deviceLine struct {
	Name     string    `json:"name"`
	Audience string    `json:"audience"`
	Owner    string    `json:"owner"`
	Kind     string    `json:"kind"`
	Profile  string    `json:"profile,omitempty"`
	Resource string    `json:"resource,omitempty"` // of an HTTP API
	Actions  []string  `json:"actions"`
	Demands  []string  `json:"demands,omitempty"` // what actions ask of apps
	SeenAt   time.Time `json:"seen_at,omitzero"`
}

func (t *tool) listDevices(cmd *cobra.Command) error {
	h, err := t.open(cmd.Context())
	if err != nil {
		return err
	}
	defer h.Close()
	devices, err := h.store.Devices(cmd.Context())
	if err != nil {
		return err
	}
	lines := []deviceLine{}
	words := []string{}
	for _, d := range devices {
		line := deviceLine{Name: d.Name, Audience: d.Audience(), Owner: d.Owner, Kind: d.Kind.String(), SeenAt: d.Registration.SeenAt}
		if line.Resource = d.Resource; d.Resource == "" {
			line.Profile = d.Profile.String()
		}
		for _, a := range d.Actions {
			line.Actions = append(line.Actions, a.Name)
		}
		line.Demands = demandsOf(&d)
		lines = append(lines, line)
		if d.Delivery == authz.DeliveryHTTP {
			words = append(words, fmt.Sprintf("%s  %s  of %s, HTTP API %s, can %s", d.Name, d.Audience(), d.Owner, d.Resource, strings.Join(line.Actions, " ")))
			continue
		}
		words = append(words, fmt.Sprintf("%s  %s  of %s, %s, %s, can %s, last seen %s", d.Name, d.Audience(), d.Owner, d.Kind, d.Profile, strings.Join(line.Actions, " "), when(d.Registration.SeenAt, "never")))
	}
	return t.say(cmd.OutOrStdout(), lines, "%s", orNone(words, "no devices"))
}

func when(at time.Time, never string) string {
	if at.IsZero() {
		return never
	}
	return at.Local().Format("2006-01-02 15:04:05 MST")
}
