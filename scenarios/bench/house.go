package main

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/grant"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/storage"
)

const issuer = "http://localhost:8080"

var shapes = []provision.Shape{provision.ShapeEncrypt0, provision.ShapeSign1, provision.ShapeSign1ECDH, provision.ShapeJWT}

// house is an authorization server in this process, on the built-in store, with a device of each shape.
type house struct {
	store   authz.Store
	server  *authz.Server
	client  authz.Client
	devices map[provision.Shape]*provision.Device
	records map[provision.Shape]authz.Device
}

// newHouse makes devices with a clock that is synced, or without one, which need exi.
func (b *bench) newHouse(ctx context.Context, name string, clock provision.Clock) (*house, error) {
	store, err := storage.Open(ctx, "sqlite:"+filepath.Join(b.dir, name+".db"), storage.Options{Key: storage.StoreKey{1}})
	if err != nil {
		return nil, err
	}
	server, err := authz.New(ctx, issuer, store, grant.New(rand.Reader), authz.Options{})
	if err != nil {
		return nil, err
	}
	h := &house{
		store: store, server: server, devices: map[provision.Shape]*provision.Device{}, records: map[provision.Shape]authz.Device{},
		client: authz.Client{ID: "gateway", AuthMethod: authz.AuthSecretBasic, SecretHash: make([]byte, 32), GrantTypes: []string{authz.ClientCredentials}, CreatedAt: time.Now()},
	}
	if err := store.AddClient(ctx, h.client); err != nil {
		return nil, err
	}
	if err := store.AddUser(ctx, authz.User{Name: "alice", CreatedAt: time.Now()}); err != nil {
		return nil, err
	}
	for i, shape := range shapes {
		if err := h.addDevice(ctx, shape, clock, byte(i)); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// actions have short paths, as the figures of the design have them.
var actions = []provision.Action{
	{Name: "view", Path: "/door", Methods: aif.GET},
	{Name: "unlock", Path: "/door/unlock", Methods: aif.POST},
}

func (h *house) addDevice(ctx context.Context, shape provision.Shape, clock provision.Clock, n byte) error {
	d := &provision.Device{
		Version: provision.Version, Issuer: issuer, Kind: provision.KindLock, Clock: clock, Token: shape, Actions: actions,
		SenderID: []byte{n, 2, 3, 4}, RecipientID: provision.ServerSenderID,
	}
	for _, b := range [][]byte{d.ID[:], d.RootKey[:]} {
		if _, err := rand.Read(b); err != nil {
			return err
		}
	}
	for id, public := range h.server.PublicKeys() {
		key, err := cose.PublicKey(public, cose.KeyID(id))
		if err != nil {
			return err
		}
		d.ASKeys = append(d.ASKeys, key)
	}
	record := authz.Device{
		ID: d.ID, Name: shape.String(), Owner: "alice", Kind: d.Kind, Delivery: authz.DeliveryPush, Profile: pop.ProfileCoAPOSCORE,
		Clock: clock, Shape: shape, Actions: actions, RootKey: d.RootKey[:], SenderID: d.SenderID, CreatedAt: time.Now(),
	}
	if shape.NeedsPrivateKey() {
		private, err := ecdh.P256().GenerateKey(rand.Reader)
		if err != nil {
			return err
		}
		d.PrivateKey, record.PublicKey = private, private.PublicKey().Bytes()
	}
	h.devices[shape], h.records[shape] = d, record
	if err := h.store.AddDevice(ctx, record); err != nil {
		return fmt.Errorf("device %s: %w", shape, err)
	}
	_, err := h.server.Give(ctx, authz.Grant{Owner: "alice", To: authz.Subject{Client: h.client.ID}, Device: d.ID, Rights: record.Rights()})
	return err
}

// token is what the server issues for the device of a shape, all claims in it.
func (h *house) token(ctx context.Context, shape provision.Shape) ([]byte, error) {
	d := h.records[shape]
	response, err := h.server.Token(ctx, authz.Caller{Client: h.client, Encoding: authz.EncodingCBOR},
		&ace.TokenRequest{GrantType: authz.ClientCredentials, Audience: d.Audience()})
	if err != nil {
		return nil, fmt.Errorf("token for %s: %w", shape, err)
	}
	return response.AccessToken, nil
}

// tokens are n of them.
func (h *house) tokens(ctx context.Context, shape provision.Shape, n int) ([][]byte, error) {
	all := make([][]byte, n)
	for i := range all {
		var err error
		if all[i], err = h.token(ctx, shape); err != nil {
			return nil, err
		}
	}
	return all, nil
}
