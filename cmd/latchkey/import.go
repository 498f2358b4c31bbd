package main

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/cmd/internal/keyfile"
	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// channel takes over the keys of --import (docs/adr/0049).
func (f clientFlags) channel(c *authz.Client) error {
	over := c.AuthMethod == authz.AuthOSCORE || c.AuthMethod == authz.AuthDTLS
	switch {
	case !over && f.importFile != "":
		return errors.New("--import goes with --auth-method oscore or dtls")
	case !over:
		return nil
	case f.importFile == "":
		return fmt.Errorf("--auth-method %s needs --import FILE", c.AuthMethod)
	}
	keys, err := readImport(f.importFile)
	if err != nil {
		return err
	}
	if c.AuthMethod == authz.AuthDTLS {
		c.Channel, err = pskChannel(f.importFile, keys)
		return err
	}
	if c.Channel, err = oscoreChannel(f.importFile, keys); err != nil {
		return err
	}
	if len(keys.ClientID) == provision.SenderIDSize {
		return fmt.Errorf("%s: client_id must not have %d bytes; those are for devices", f.importFile, provision.SenderIDSize)
	}
	return nil
}

// readImport reads a file of --import and refuses keys that are none: one byte repeated is what a field looks like that nobody
// filled in.
func readImport(path string) (keyfile.Keys, error) {
	keys, err := keyfile.Read(path)
	if err != nil {
		return keyfile.Keys{}, err
	}
	secret := keys.MasterSecret
	if keys.PSK != nil {
		secret = keys.PSK
	}
	if bytes.Count(secret, secret[:1]) == len(secret) {
		return keyfile.Keys{}, fmt.Errorf("%s: the key is one byte repeated: give the random one that the other end has", path)
	}
	return keys, nil
}

// oscoreChannel is the input of RFC 8613 appendix B.2, never a context itself (docs/adr/0029): what the other end has used up of
// its sequence numbers is not known here.
func oscoreChannel(path string, keys keyfile.Keys) (*authz.Channel, error) {
	switch {
	case keys.PSK != nil:
		return nil, fmt.Errorf("%s: for OSCORE give master_secret, client_id and server_id instead of psk", path)
	case keys.IDContext != nil:
		return nil, fmt.Errorf("%s: leave out id_context: both ends make a new one each time (RFC 8613 appendix B.2)", path)
	case len(keys.ClientID) == 0:
		return nil, fmt.Errorf("%s: client_id must be 1 to %d bytes in hex: the server finds its peer by it", path, oscore.MaxID)
	}
	return &authz.Channel{MasterSecret: keys.MasterSecret, MasterSalt: keys.MasterSalt, PeerID: keys.ClientID, ServerID: keys.ServerID}, nil
}

func pskChannel(path string, keys keyfile.Keys) (*authz.Channel, error) {
	switch {
	case keys.PSK == nil:
		return nil, fmt.Errorf("%s: for DTLS give psk and psk_identity instead of master_secret", path)
	case len(keys.Identity) == provision.SenderIDSize:
		return nil, fmt.Errorf("%s: psk_identity must not have %d bytes; those are for devices", path, provision.SenderIDSize)
	}
	return &authz.Channel{MasterSecret: keys.PSK, PeerID: []byte(keys.Identity)}, nil
}

// channel takes over the channel that a device has already. Its server calls it, which it does over OSCORE.
func (f deviceFlags) channel(d *authz.Device) error {
	if f.importFile == "" {
		return nil
	}
	keys, err := readImport(f.importFile)
	if err != nil {
		return err
	}
	if d.Channel, err = oscoreChannel(f.importFile, keys); err != nil {
		return err
	}
	d.SenderID = d.Channel.PeerID
	return nil
}
