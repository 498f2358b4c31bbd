package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/attest"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

const deviceColumns = `id, name, owner, kind, delivery, profile, clock, shape, actions, root_key, public_key, sender_id,
	epoch, expires_in, private, require_cnonce, remote, created_at, reg_address, reg_local_uris, reg_expires_at, reg_seen_at,
	resource, state, suspended_at, signing_keys, channel, channel_secret`

// action is how one of a device's actions rests in the list of them.
type action struct {
	Name    string `json:"name"`
	Path    string `json:"path"`
	Methods uint64 `json:"methods"`

	Demand attest.Demand `json:"demand,omitzero"`
}

func actionsOf(d *authz.Device) []action {
	if d.Actions == nil {
		return nil
	}
	list := make([]action, 0, len(d.Actions))
	for _, a := range d.Actions {
		list = append(list, action{Name: a.Name, Path: a.Path, Methods: uint64(a.Methods), Demand: d.Demands[a.Name]})
	}
	return list
}

// setActions gives a device its actions, and what they ask of an app.
func setActions(d *authz.Device, list []action) {
	if list == nil {
		return
	}
	d.Actions = make([]provision.Action, 0, len(list))
	for _, a := range list {
		d.Actions = append(d.Actions, provision.Action{Name: a.Name, Path: a.Path, Methods: aif.Methods(a.Methods)})
		if a.Demand.Demanding() {
			if d.Demands == nil {
				d.Demands = make(map[string]attest.Demand)
			}
			d.Demands[a.Name] = a.Demand
		}
	}
}

// AddDevice keeps a device and reserves its SenderID.
func (s *Store) AddDevice(ctx context.Context, d authz.Device) error {
	what := fmt.Sprintf("device %q", d.Name)
	sealed, err := s.sealer.Seal(tableDevices, d.ID[:], d.RootKey)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	channel, channelSecret, err := s.sealChannel(tableDevices, channelRow(d.ID), d.Channel)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	rows := []query{ask(`INSERT INTO devices (`+deviceColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,
		$13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28)`,
		d.ID[:], d.Name, d.Owner, int(d.Kind), string(d.Delivery), int(d.Profile), int(d.Clock), int(d.Shape),
		asJSON{actionsOf(&d)}, sealed, d.PublicKey, d.SenderID, counter(d.Epoch), int64(d.ExpiresIn/time.Second),
		d.Private, d.RequireCNonce, d.Remote, ms(d.CreatedAt), d.Registration.Address, asJSON{d.Registration.LocalURIs},
		ms(d.Registration.ExpiresAt), ms(d.Registration.SeenAt), nullable(d.Resource),
		string(cmp.Or(d.State, authz.DeviceActive)), ms(d.SuspendedAt), asJSON{d.SigningKeys}, channel, channelSecret)}
	if d.SenderID != nil {
		rows = append(rows, reserve(d.SenderID, nil, d.ID[:]))
	}
	if d.Channel != nil {
		rows = append(rows, s.material(d.Channel, nil, d.ID[:]))
	}
	return s.add(ctx, what, rows...)
}

// channelRow names the sealed secret of a device's channel beside its root key.
func channelRow(id provision.DeviceID) []byte { return append([]byte("channel"), id[:]...) }

// Device finds a device by id.
func (s *Store) Device(ctx context.Context, id provision.DeviceID) (authz.Device, error) {
	return s.device(ctx, provision.Audience(id), deviceKey{"id", string(id[:])}, ask(`WHERE id = $1`, id[:]))
}

// DeviceByName finds a device by the name people use.
func (s *Store) DeviceByName(ctx context.Context, name string) (authz.Device, error) {
	return s.device(ctx, name, deviceKey{"name", name}, ask(`WHERE name = $1`, name))
}

// DeviceByResource finds an HTTP API by its URI (RFC 8707).
func (s *Store) DeviceByResource(ctx context.Context, uri string) (authz.Device, error) {
	return s.device(ctx, uri, deviceKey{"resource", uri}, ask(`WHERE resource = $1`, uri))
}

// nullable is NULL for no text, where a unique column may have many without.
func nullable(text string) any {
	if text == "" {
		return nil
	}
	return text
}

func (s *Store) device(ctx context.Context, name string, key deviceKey, where query) (authz.Device, error) {
	var d authz.Device
	err := authz.ErrNotFound
	if storable(name) {
		d, err = s.deviceOf(ctx, key, func() (authz.Device, error) { return single(s.devices(ctx, where)) })
	}
	if err != nil {
		return authz.Device{}, fmt.Errorf("device %q: %w", name, err)
	}
	return d, nil
}

// Devices lists all, by name.
func (s *Store) Devices(ctx context.Context) ([]authz.Device, error) {
	list, err := s.devices(ctx, ask(`ORDER BY name`))
	if err != nil {
		return nil, fmt.Errorf("devices: %w", err)
	}
	return list, nil
}

func (s *Store) devices(ctx context.Context, rest query) ([]authz.Device, error) {
	// SQLite's driver reads an empty value as NULL, but the empty Sender ID is an id (RFC 8613 §3.3).
	rest.text = `SELECT ` + deviceColumns + `, sender_id IS NOT NULL FROM devices ` + rest.text
	return all(ctx, s.engine.Reader(), rest, s.scanDevice)
}

func (s *Store) scanDevice(rows Rows) (authz.Device, error) {
	var d authz.Device
	var sealed []byte
	var actions []action
	var hasSender bool
	var resource, channel sql.NullString
	var channelSecret []byte
	reg := &d.Registration
	err := rows.Scan((*id8)(&d.ID), &d.Name, &d.Owner, (*int)(&d.Kind), (*string)(&d.Delivery),
		(*int)(&d.Profile), (*int)(&d.Clock), (*int)(&d.Shape), asJSON{&actions}, &sealed, &d.PublicKey, &d.SenderID,
		(*counter)(&d.Epoch), (*seconds)(&d.ExpiresIn), &d.Private, &d.RequireCNonce, &d.Remote, (*when)(&d.CreatedAt),
		&reg.Address, asJSON{&reg.LocalURIs}, (*when)(&reg.ExpiresAt), (*when)(&reg.SeenAt), &resource, (*string)(&d.State),
		(*when)(&d.SuspendedAt), asJSON{&d.SigningKeys}, &channel, &channelSecret, &hasSender)
	if err != nil {
		return d, err
	}
	if hasSender {
		d.SenderID = present(d.SenderID)
	}
	d.Resource = resource.String
	setActions(&d, actions)
	if d.RootKey, err = s.sealer.Open(tableDevices, d.ID[:], sealed); err != nil {
		return d, fmt.Errorf("root key of device %q: %w", d.Name, err)
	}
	if d.Channel, err = s.openChannel(tableDevices, channelRow(d.ID), channel, channelSecret); err != nil {
		return d, fmt.Errorf("device %q: %w", d.Name, err)
	}
	return d, nil
}

// Register replaces what the device last told about itself.
func (s *Store) Register(ctx context.Context, id provision.DeviceID, r authz.Registration) error {
	return s.change(ctx, fmt.Sprintf("device %q", provision.Audience(id)),
		ask(`UPDATE devices SET reg_address = $2, reg_local_uris = $3, reg_expires_at = $4, reg_seen_at = $5 WHERE id = $1`,
			id[:], r.Address, asJSON{r.LocalURIs}, ms(r.ExpiresAt), ms(r.SeenAt)))
}

// Registration reads where a device was last seen.
func (s *Store) Registration(ctx context.Context, id provision.DeviceID) (r authz.Registration, err error) {
	err = one(ctx, s.engine.Reader(), ask(`SELECT reg_address, reg_local_uris, reg_expires_at, reg_seen_at FROM devices WHERE id = $1`, id[:]),
		&r.Address, asJSON{&r.LocalURIs}, (*when)(&r.ExpiresAt), (*when)(&r.SeenAt))
	if err != nil {
		err = fmt.Errorf("device %q: %w", provision.Audience(id), err)
	}
	return r, err
}

// SetDemands replaces what actions of a device ask of apps. Mints that have begun with what it was are over before.
func (s *Store) SetDemands(ctx context.Context, id provision.DeviceID, demands map[string]attest.Demand) error {
	err := s.engine.Write(ctx, func(ctx context.Context, q Querier) error {
		if err := s.enter(ctx, q, alone); err != nil {
			return err
		}
		var actions []action
		if err := one(ctx, q, ask(`SELECT actions FROM devices WHERE id = $1`, id[:]), asJSON{&actions}); err != nil {
			return err
		}
		for i := range actions {
			actions[i].Demand = demands[actions[i].Name]
		}
		return touch(ctx, q, ask(`UPDATE devices SET actions = $2 WHERE id = $1`, id[:], asJSON{actions}))
	})
	if err != nil {
		return fmt.Errorf("device %q: %w", provision.Audience(id), s.meaning(err))
	}
	return nil
}
