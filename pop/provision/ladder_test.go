package provision_test

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"reflect"
	"testing"

	"github.com/latchkey-ace/latchkey/pop/provision"
)

var root = bytes.Repeat([]byte{0xa5}, 32)

// The info of D2, written out by hand: ["latchkey", 1, "token", h'0102030405060708', h'01'].
func TestLadderIsHKDFOverTheWrittenInfo(t *testing.T) {
	info, err := hex.DecodeString("85" + "68" + hex.EncodeToString([]byte("latchkey")) + "01" + "65" + hex.EncodeToString([]byte("token")) +
		"48" + "0102030405060708" + "41" + "01")
	if err != nil {
		t.Fatal(err)
	}
	want, err := hkdf.Key(sha256.New, root, nil, string(info), 16)
	if err != nil {
		t.Fatal(err)
	}
	got, err := provision.DeriveKey(root, provision.PurposeToken, lock().ID, []byte{1}, 16)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %x, %v, want %x", got, err, want)
	}
	// Computed once with another HKDF: a change of this value takes every installed device out of service.
	if frozen := "7acb3910b338fe20a6b51e06f5a3339c"; hex.EncodeToString(got) != frozen {
		t.Errorf("got %x, want %s", got, frozen)
	}
}

func TestNoTwoKeysOfALadderAreEqual(t *testing.T) {
	purposes := []provision.Purpose{provision.PurposeOSCORE, provision.PurposeToken, provision.PurposeCnf,
		provision.PurposeNewsDown, provision.PurposeNewsUp, provision.PurposePSK, provision.PurposeServerPSK}
	seen := make(map[string]string)
	for _, purpose := range purposes {
		for _, id := range []provision.DeviceID{{1}, {2}} {
			for _, keyID := range []string{"\x01", "\x02", "\x01\x01"} {
				k, err := provision.DeriveKey(root, purpose, id, []byte(keyID), 16)
				if err != nil {
					t.Fatal(err)
				}
				name := string(purpose) + id.String() + keyID
				if other, ok := seen[string(k)]; ok {
					t.Errorf("%q and %q are one key", name, other)
				}
				seen[string(k)] = name
			}
		}
	}
}

func TestLadderRefuses(t *testing.T) {
	tests := []struct {
		name        string
		root, keyID []byte
		length      int
	}{
		{"a short root key", root[:15], []byte{1}, 16},
		{"a long root key", make([]byte, 65), []byte{1}, 16},
		{"no key id", root, nil, 16},
		{"a key id of nine bytes", root, make([]byte, 9), 16},
		{"no length", root, []byte{1}, 0},
		{"a length of 65", root, []byte{1}, 65},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if k, err := provision.DeriveKey(tt.root, provision.PurposeToken, provision.DeviceID{}, tt.keyID, tt.length); err == nil {
				t.Errorf("got %d bytes, want an error", len(k))
			}
		})
	}
}

func TestSealingKeys(t *testing.T) {
	d := lock()
	for _, purpose := range []provision.Purpose{provision.PurposeToken, provision.PurposeCnf, provision.PurposeNewsDown, provision.PurposeNewsUp} {
		server, err := provision.SymmetricKey(root, purpose, d.ID, provision.FirstKeyID)
		if err != nil {
			t.Fatal(err)
		}
		device, err := d.SymmetricKey(purpose, provision.FirstKeyID)
		if err != nil || !reflect.DeepEqual(server, device) {
			t.Errorf("%s: %v, or not the same key on both sides", purpose, err)
		}
		if len(server.K) != 16 || server.Algorithm != 30 || !bytes.Equal(server.ID, []byte{1}) {
			t.Errorf("%s: got %d bytes for algorithm %d under id %x", purpose, len(server.K), server.Algorithm, []byte(server.ID))
		}
	}
	for _, purpose := range []provision.Purpose{provision.PurposeOSCORE, provision.PurposePSK, "", "other"} {
		if _, err := provision.SymmetricKey(root, purpose, d.ID, provision.FirstKeyID); err == nil {
			t.Errorf("%q: a sealing key was made", purpose)
		}
	}
}

func TestBothEndsOfTheChannel(t *testing.T) {
	d := lock()
	device, err := d.ChannelParams()
	if err != nil {
		t.Fatal(err)
	}
	server, err := provision.ServerChannelParams(d.RootKey[:], d.ID, d.SenderID, d.RecipientID)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(device.SenderID, d.SenderID) || !bytes.Equal(device.RecipientID, d.RecipientID) {
		t.Error("the device does not send under its own id")
	}
	server.SenderID, server.RecipientID = server.RecipientID, server.SenderID
	if !reflect.DeepEqual(device, server) {
		t.Error("the ends are not each other's mirror")
	}
	want, err := provision.DeriveKey(root, provision.PurposeOSCORE, d.ID, provision.FirstKeyID, 16)
	if err != nil || !bytes.Equal(device.MasterSecret, want) {
		t.Errorf("%v, or not the key of its purpose", err)
	}
}
