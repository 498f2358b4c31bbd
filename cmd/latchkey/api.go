package main

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/spf13/cobra"
)

// notForAPI are flags of device add that mean something for devices only.
var notForAPI = []string{"out", "profile", "clock", "token", "exi", "require-cnonce"}

// addAPI adds an HTTP API. It has no keys and no provisioning file: it verifies tokens with the server's public keys.
func (t *tool) addAPI(cmd *cobra.Command, name string, f deviceFlags) error {
	d, err := f.api(cmd, name)
	if err != nil {
		return err
	}
	if _, err := rand.Read(d.ID[:]); err != nil {
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
	switch other, err := h.store.DeviceByResource(cmd.Context(), d.Resource); {
	case err == nil:
		return fmt.Errorf("--resource %s: %s is it already", d.Resource, other.Name)
	case !errors.Is(err, authz.ErrNotFound):
		return err
	}
	if err := h.store.AddDevice(cmd.Context(), d); err != nil {
		return taken(err)
	}
	if err := h.note(cmd.Context(), authz.AuditEntry{Event: "device.add", User: d.Owner, Device: d.Audience()}); err != nil {
		return err
	}
	return t.say(cmd.OutOrStdout(), map[string]string{"device": name, "audience": d.Audience(), "resource": d.Resource},
		"added %s as %s\nit takes tokens with aud %s, signed with the keys at %s/jwks", name, d.Audience(), d.Resource, h.config.Issuer)
}

// api turns the flags into a record.
func (f deviceFlags) api(cmd *cobra.Command, name string) (d authz.Device, err error) {
	d = authz.Device{
		Name: name, Owner: f.owner, Kind: provision.KindGeneric, Delivery: authz.DeliveryHTTP, Clock: provision.ClockSynced,
		Shape: provision.ShapeJWT, Resource: f.resource, CreatedAt: time.Now(),
	}
	for _, flag := range notForAPI {
		if cmd.Flags().Changed(flag) {
			return d, fmt.Errorf("--%s is for devices; leave it out with --delivery http", flag)
		}
	}
	switch {
	case f.kind != provision.KindGeneric.String():
		return d, fmt.Errorf("--kind %s is for devices; leave it out with --delivery http", f.kind)
	case f.owner == "":
		return d, errors.New("say whose API it is: --owner USER")
	case f.resource == "":
		return d, errors.New("say which API it is: --resource URI, as it stands in the aud of its tokens")
	case ace.CheckResource(f.resource) != nil:
		return d, fmt.Errorf("--resource %q: give a whole address like https://api.example/v1, without #", f.resource)
	}
	if err := checkName("device", name); err != nil {
		return d, err
	}
	if d.Actions, err = parseActions(f.actions); err != nil {
		return d, err
	}
	d.Demands, err = parseDemands(&d, f.demands)
	return d, err
}

// clientRoots are the certificates of client_ca; nil without.
func (c *config) clientRoots(dir string) (*x509.CertPool, error) {
	all, err := c.clientCA(dir)
	if all == nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	for _, authority := range all {
		roots.AddCert(authority)
	}
	return roots, nil
}

// clientCA reads who issues the certificates of apps. Anything in the file that is no certificate of an authority is an error: a
// part that is left out would be missed only by the apps that need it.
func (c *config) clientCA(dir string) ([]*x509.Certificate, error) {
	if c.ClientCA == "" {
		return nil, nil
	}
	text, err := os.ReadFile(within(dir, c.ClientCA))
	if err != nil {
		return nil, fmt.Errorf("client_ca: %w", err)
	}
	var all []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		authority, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("client_ca: %s: %w", c.ClientCA, err)
		}
		if !authority.IsCA {
			return nil, fmt.Errorf("client_ca: %s: the certificate of %q is of no authority", c.ClientCA, authority.Subject)
		}
		all = append(all, authority)
	}
	if all == nil {
		return nil, fmt.Errorf("client_ca: %s holds no certificate in PEM", c.ClientCA)
	}
	return all, nil
}
