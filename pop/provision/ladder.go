package provision

import (
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"

	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/internal/wire"
	"github.com/latchkey-ace/latchkey/pop/oscore"
)

// Purpose is what a derived key is for; no key serves two (D2).
type Purpose string

const (
	PurposeOSCORE    Purpose = "oscore"    // the channel between device and server
	PurposeToken     Purpose = "token"     // seals tokens
	PurposeCnf       Purpose = "cnf"       // seals possession keys inside signed tokens
	PurposeNewsDown  Purpose = "news-down" // seals news to the device
	PurposeNewsUp    Purpose = "news-up"   // seals its receipts
	PurposePSK       Purpose = "psk"       // makes the kids of DTLS keys between clients and the device
	PurposeServerPSK Purpose = "coaps"     // DTLS between device and server
)

const (
	ladder        = "latchkey"
	ladderVersion = 1
	keySize       = 16 // of every key this house derives: AES-128

	// algorithmSeal is AES-CCM-16-128-128: a 16-byte tag, because whoever is near the device may guess (D2).
	algorithmSeal cose.Algorithm = 30
)

// SenderIDSize is the length of the OSCORE Sender ID that a server gives a device: long enough to be drawn at random,
// and of one length so that it never meets the ID of a client.
const SenderIDSize = 4

// ServerSenderID is the Sender ID of a server towards its devices. FirstKeyID names each key until it is rotated. Both
// are to be read only.
var (
	ServerSenderID = []byte{0}
	FirstKeyID     = cose.KeyID{1}
)

// derivation is the info of D2.
type derivation struct {
	_       struct{} `cbor:",toarray"`
	Ladder  string
	Version uint
	Purpose string
	Device  []byte
	KeyID   []byte
}

// DeriveKey is the key ladder of D2: HKDF-SHA-256 with an empty salt over a device's root key.
func DeriveKey(root []byte, purpose Purpose, id DeviceID, keyID []byte, length int) ([]byte, error) {
	switch {
	case len(root) < MinRoot || len(root) > MaxRoot:
		return nil, fmt.Errorf("root key of %d bytes, want %d to %d", len(root), MinRoot, MaxRoot)
	case len(keyID) < 1 || len(keyID) > MaxKeyID:
		return nil, fmt.Errorf("key id of %d bytes, want 1 to %d", len(keyID), MaxKeyID)
	case length < 1 || length > MaxKey:
		return nil, fmt.Errorf("derived key of %d bytes, want 1 to %d", length, MaxKey)
	}
	info, err := wire.Marshal(derivation{
		Ladder: ladder, Version: ladderVersion, Purpose: string(purpose), Device: id[:], KeyID: keyID,
	})
	if err != nil {
		return nil, err
	}
	return hkdf.Key(sha256.New, root, nil, string(info), length)
}

// SymmetricKey derives the key that seals tokens, possession keys or news.
func SymmetricKey(root []byte, purpose Purpose, id DeviceID, keyID cose.KeyID) (cose.SymmetricKey, error) {
	switch purpose {
	case PurposeToken, PurposeCnf, PurposeNewsDown, PurposeNewsUp:
	default:
		return cose.SymmetricKey{}, fmt.Errorf("%q is not the purpose of a sealing key", string(purpose))
	}
	k, err := DeriveKey(root, purpose, id, keyID, keySize)
	if err != nil {
		return cose.SymmetricKey{}, err
	}
	return cose.SymmetricKey{K: k, ID: keyID, Algorithm: algorithmSeal}, nil
}

// ServerChannelParams are the inputs of the channel to a device as its server sees it (D1): appendix B.2 of RFC 8613
// makes contexts of them, they are never one themselves.
func ServerChannelParams(root []byte, id DeviceID, deviceSenderID, serverSenderID []byte) (oscore.Params, error) {
	secret, err := DeriveKey(root, PurposeOSCORE, id, FirstKeyID, keySize)
	if err != nil {
		return oscore.Params{}, err
	}
	return oscore.Params{MasterSecret: secret, SenderID: serverSenderID, RecipientID: deviceSenderID}, nil
}

// ChannelParams are the same inputs as the device sees them.
func (d *Device) ChannelParams() (oscore.Params, error) {
	if d.MasterSecret != nil {
		return oscore.Params{MasterSecret: d.MasterSecret, MasterSalt: d.MasterSalt, SenderID: d.SenderID, RecipientID: d.RecipientID}, nil
	}
	return ServerChannelParams(d.RootKey[:], d.ID, d.RecipientID, d.SenderID)
}

// SymmetricKey derives a sealing key of the device.
func (d *Device) SymmetricKey(purpose Purpose, keyID cose.KeyID) (cose.SymmetricKey, error) {
	return SymmetricKey(d.RootKey[:], purpose, d.ID, keyID)
}
