package cwt

import (
	"errors"
	"fmt"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// UnknownParameterError names a parameter of OSCORE_Input_Material that we do not know and must not ignore (RFC 9203
// §3.2.1).
type UnknownParameterError struct {
	Label any // int64 or string
}

func (e *UnknownParameterError) Error() string {
	if name, ok := e.Label.(string); ok { // its writer's words, which could be long and go over several lines
		return fmt.Sprintf("unknown parameter %.64q of OSCORE input material", name)
	}
	return fmt.Sprintf("unknown parameter %v of OSCORE input material", e.Label)
}

// material is OSCORE_Input_Material; labels in the order of its registry.
type material struct {
	ID        []byte         `cbor:"0,keyasint"`
	Version   uint           `cbor:"1,keyasint,omitempty"`
	Secret    []byte         `cbor:"2,keyasint"`
	HKDF      int64          `cbor:"3,keyasint,omitempty"`
	Algorithm cose.Algorithm `cbor:"4,keyasint,omitempty"`
	Salt      []byte         `cbor:"5,keyasint,omitempty"`
	ContextID []byte         `cbor:"6,keyasint,omitzero"` // an empty one is not none (RFC 8613 §3.2.1)
}

// EncodeInputMaterial gives the deterministic OSCORE_Input_Material.
func EncodeInputMaterial(m *pop.InputMaterial) ([]byte, error) {
	if err := checkMaterial(m); err != nil {
		return nil, err
	}
	return wire.Marshal(material{
		ID: m.ID, Version: m.Version, Secret: m.MasterSecret, HKDF: m.HKDF, Algorithm: m.Algorithm, Salt: m.Salt, ContextID: m.ContextID,
	})
}

// ParseInputMaterial reads OSCORE_Input_Material; an unknown label is an *UnknownParameterError. Algorithms must be given
// as numbers.
func ParseInputMaterial(data []byte) (*pop.InputMaterial, error) {
	var space room
	set, err := parseMap(data, &space)
	if err != nil {
		return nil, err
	}
	m := &pop.InputMaterial{}
	for _, f := range set {
		if err := readMaterial(m, f.label, f.value); err != nil {
			return nil, err
		}
	}
	return m, checkMaterial(m)
}

func readMaterial(m *pop.InputMaterial, label pop.ClaimLabel, raw wire.RawMessage) error {
	if label.Name != "" {
		return &UnknownParameterError{label.Name}
	}
	switch label.Number {
	case 0:
		return readBytes(&m.ID, raw, 1, maxInputID)
	case 1:
		return readNumber(raw, 0, func(n int64) { m.Version = uint(n) })
	case 2:
		return readBytes(&m.MasterSecret, raw, minSecret, maxMaterial)
	case 3:
		return readNumber(raw, minAlgorithm, func(n int64) { m.HKDF = n })
	case 4:
		return readNumber(raw, minAlgorithm, func(n int64) { m.Algorithm = cose.Algorithm(n) })
	case 5:
		return readBytes(&m.Salt, raw, 0, maxMaterial)
	case 6:
		return readBytes(&m.ContextID, raw, 0, maxMaterial)
	}
	return &UnknownParameterError{label.Number}
}

func readNumber(raw wire.RawMessage, least int64, set func(int64)) error {
	n, err := integer(raw)
	if err == nil && (n < least || n > maxAlgorithm) {
		err = errors.New("number out of range")
	}
	if err == nil {
		set(n)
	}
	return err
}

func checkMaterial(m *pop.InputMaterial) error {
	switch {
	case len(m.ID) == 0 || len(m.ID) > maxInputID:
		return fmt.Errorf("input material id of %d bytes, want 1 to %d", len(m.ID), maxInputID)
	case len(m.MasterSecret) < minSecret || len(m.MasterSecret) > maxMaterial:
		return fmt.Errorf("master secret of %d bytes, want %d to %d", len(m.MasterSecret), minSecret, maxMaterial)
	case len(m.Salt) > maxMaterial || len(m.ContextID) > maxMaterial:
		return fmt.Errorf("salt or context id of more than %d bytes", maxMaterial)
	}
	return nil
}
