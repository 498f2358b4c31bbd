// Package keyfile reads the file of --import: key material that two ends of a CoAP link already share, as an OSCORE
// context (RFC 8613 §3.2) or a DTLS pre-shared key. Start from Read. It does not keep sequence numbers; Journal does,
// beside the file.
package keyfile

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/latchkey-ace/latchkey/storage/device"
)

// Bounds of the file's values, in bytes.
const (
	MinKey      = 16  // 128 bits, of a master secret and of a pre-shared key
	MaxKey      = 64  // what HMAC-SHA-256 takes without hashing first
	MaxSalt     = 64  // as long as the longest secret
	MaxIdentity = 128 // RFC 4279 §5.3: what every implementation of DTLS-PSK takes
)

// Keys is what a file holds: an OSCORE context or, if PSK is set, a pre-shared key.
type Keys struct {
	MasterSecret []byte
	MasterSalt   []byte
	ClientID     []byte // Sender ID of the client
	ServerID     []byte // Sender ID of the server
	IDContext    []byte // nil: there is none

	Identity string // psk_identity
	PSK      []byte
}

// String hides the keys.
func (Keys) String() string { return "[redacted]" }

// GoString hides the keys.
func (Keys) GoString() string { return "[redacted]" }

// Client is the context of the client's side.
func (k Keys) Client() oscore.Params { return k.params(k.ClientID, k.ServerID) }

// Server is the context of the server's side.
func (k Keys) Server() oscore.Params { return k.params(k.ServerID, k.ClientID) }

func (k Keys) params(sender, recipient []byte) oscore.Params {
	return oscore.Params{
		MasterSecret: k.MasterSecret, MasterSalt: k.MasterSalt, IDContext: k.IDContext, SenderID: sender, RecipientID: recipient,
	}
}

// members are those of the JSON object; nil ones are absent.
type members struct {
	MasterSecret *string `json:"master_secret"`
	MasterSalt   *string `json:"master_salt"`
	ClientID     *string `json:"client_id"`
	ServerID     *string `json:"server_id"`
	IDContext    *string `json:"id_context"`
	Identity     *string `json:"psk_identity"`
	PSK          *string `json:"psk"`
}

// Read reads and checks the file at path, which nobody but its owner may read. Errors name the path and what is wrong,
// never a value.
func Read(path string) (Keys, error) {
	data, err := device.ReadSecretFile(path)
	if err != nil {
		return Keys{}, err
	}
	k, err := Parse(data)
	if err != nil {
		return Keys{}, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

// Parse decodes the content of a file. Unknown members are errors: a misspelt id_context would be a wrong key.
func Parse(data []byte) (Keys, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	var in members
	if err := decoder.Decode(&in); err != nil {
		return Keys{}, errors.New("not the JSON that --import takes") // the decoder's error may repeat a secret
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return Keys{}, errors.New("something follows the JSON object")
	}
	if in.PSK != nil || in.Identity != nil {
		return in.dtls()
	}
	return in.oscore()
}

func (in members) oscore() (k Keys, err error) {
	for _, m := range []struct {
		name      string
		value     *string
		low, high int
		into      *[]byte
	}{
		{"master_secret", in.MasterSecret, MinKey, MaxKey, &k.MasterSecret},
		{"master_salt", in.MasterSalt, 0, MaxSalt, &k.MasterSalt},
		{"client_id", in.ClientID, 0, oscore.MaxID, &k.ClientID},
		{"server_id", in.ServerID, 0, oscore.MaxID, &k.ServerID},
		{"id_context", in.IDContext, 0, oscore.MaxIDContext, &k.IDContext},
	} {
		if *m.into, err = unhex(m.name, m.value, m.low, m.high); err != nil {
			return Keys{}, err
		}
	}
	if bytes.Equal(k.ClientID, k.ServerID) { // both would encrypt under one key with the same nonces
		return Keys{}, errors.New("client_id and server_id must differ")
	}
	return k, nil
}

func (in members) dtls() (Keys, error) {
	switch {
	case in.MasterSecret != nil || in.MasterSalt != nil || in.ClientID != nil || in.ServerID != nil || in.IDContext != nil:
		return Keys{}, errors.New("psk and psk_identity stand alone: one key, one purpose")
	case in.Identity == nil || *in.Identity == "" || len(*in.Identity) > MaxIdentity:
		return Keys{}, fmt.Errorf("psk_identity must be 1 to %d bytes of text", MaxIdentity)
	}
	psk, err := unhex("psk", in.PSK, MinKey, MaxKey)
	return Keys{Identity: *in.Identity, PSK: psk}, err
}

// unhex returns nil only for an absent value.
func unhex(name string, value *string, low, high int) ([]byte, error) {
	if value == nil && low == 0 {
		return nil, nil
	}
	if value != nil {
		if b, err := hex.DecodeString(*value); err == nil && len(b) >= low && len(b) <= high {
			return b, nil
		}
	}
	return nil, fmt.Errorf("%s must be %d to %d bytes in hex", name, low, high)
}
