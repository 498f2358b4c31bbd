package provision

import (
	"encoding/base32"
	"errors"
	"strings"
)

// DeviceID names a device to its server: 8 random bytes (D6). It carries no meaning and no owner.
type DeviceID [8]byte

// String is the audience of the device's tokens.
func (id DeviceID) String() string { return Audience(id) }

var alphabet = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Audience is the aud of a device's tokens: "d" and the id in lower-case unpadded base32, 14 characters (D6).
func Audience(id DeviceID) string {
	return string(alphabet.AppendEncode(append(make([]byte, 0, 16), 'd'), id[:]))
}

// ParseAudience finds the device that an audience names. Only the spelling of Audience is accepted.
func ParseAudience(audience string) (DeviceID, error) {
	var id DeviceID
	b, err := alphabet.DecodeString(strings.TrimPrefix(audience, "d"))
	if err == nil && len(b) == len(id) {
		copy(id[:], b)
		if Audience(id) == audience {
			return id, nil
		}
	}
	return DeviceID{}, errors.New("not the audience of a device: want d and 13 characters of a-z and 2-7")
}
