package cwt

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// keepUnknown keeps a claim that has no field, encoded as it stood, for the caller.
func keepUnknown(c *pop.Claims, f field) error {
	if len(c.Unknown) == maxUnknown {
		return fmt.Errorf("more than %d unknown claims", maxUnknown)
	}
	if len(f.label.Name) > maxText {
		return fmt.Errorf("name of %d bytes, at most %d", len(f.label.Name), maxText)
	}
	if c.Unknown == nil {
		c.Unknown = make(map[pop.ClaimLabel][]byte)
	}
	c.Unknown[f.label] = bytes.Clone(f.value)
	return nil
}

// addUnknown puts further claims among the encoded ones, in deterministic order of labels. Values are put in as they stand:
// an encoder would judge tags that a reader of unknown claims does not.
func addUnknown(data []byte, unknown map[pop.ClaimLabel][]byte) ([]byte, error) {
	known, err := parseMap(data, new(room))
	if err != nil {
		return nil, err
	}
	entries := make(map[string][]byte, len(known)+len(unknown)) // by encoded label
	for _, f := range known {
		key, err := encodeLabel(f.label)
		if err != nil {
			return nil, err
		}
		entries[string(key)] = f.value
	}
	for label, value := range unknown {
		if readerOf(label) != nil {
			return nil, fmt.Errorf("claim %v has a field of its own", label)
		}
		key, err := encodeLabel(label)
		var whole wire.RawMessage
		if err == nil {
			err = wire.Unmarshal(value, &whole)
		}
		if err != nil {
			return nil, fmt.Errorf("claim %.64v: %w", label, err)
		}
		if _, twice := entries[string(key)]; twice { // ClaimLabel has two ways to say a name
			return nil, fmt.Errorf("claim %.64v is there twice", label)
		}
		entries[string(key)] = value
	}
	out, err := wire.Marshal(len(entries))
	if err != nil {
		return nil, err
	}
	out[0] |= wire.MajorMap << 5 // a count is encoded as a number is
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		out = append(append(out, key...), entries[key]...)
	}
	return out, nil
}

func encodeLabel(label pop.ClaimLabel) ([]byte, error) {
	if label.Name != "" {
		return wire.Marshal(label.Name)
	}
	return wire.Marshal(label.Number)
}
