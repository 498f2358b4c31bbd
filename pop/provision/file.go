package provision

import (
	"bytes"
	"crypto/ecdh"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/cose"
	"github.com/latchkey-ace/latchkey/pop/internal/wire"
)

// Labels of the file (D23), in order. 14, 15, the profile, 16 and 17, a channel of before, are additions that stand there only when
// they are not the usual.
const (
	labelVersion       = 0
	labelDigest        = 13 // SHA-256 of the deterministic encoding of all other labels
	labelRequireCNonce = 14
)

// record is the map of D23. Optional labels have a pointer or a nil slice.
type record struct {
	Version       uint              `cbor:"0,keyasint"`
	ID            []byte            `cbor:"1,keyasint"`
	RootKey       []byte            `cbor:"2,keyasint"`
	ASURIs        []string          `cbor:"3,keyasint"`
	Issuer        string            `cbor:"4,keyasint"`
	ASKeys        []wire.RawMessage `cbor:"5,keyasint"`
	RecoveryKey   wire.RawMessage   `cbor:"6,keyasint"` // null without one
	PrivateKey    []byte            `cbor:"7,keyasint,omitempty"`
	Kind          Kind              `cbor:"8,keyasint"`
	Clock         Clock             `cbor:"9,keyasint"`
	Token         Shape             `cbor:"10,keyasint"`
	Actions       []action          `cbor:"11,keyasint"`
	IDs           ids               `cbor:"12,keyasint"`
	Digest        []byte            `cbor:"13,keyasint,omitempty"`
	RequireCNonce bool              `cbor:"14,keyasint,omitempty"`
	Profile       pop.Profile       `cbor:"15,keyasint,omitempty"` // absent: coap_oscore
	MasterSecret  []byte            `cbor:"16,keyasint,omitempty"`
	MasterSalt    []byte            `cbor:"17,keyasint,omitempty"`
}

type action struct {
	_       struct{} `cbor:",toarray"`
	Name    string
	Path    string
	Methods aif.Methods
}

type ids struct {
	_         struct{} `cbor:",toarray"`
	Sender    []byte
	Recipient []byte
}

var null = wire.RawMessage{0xf6}

// DamagedError says that a file cannot be used and what to do. It quotes no key.
type DamagedError struct{ cause error }

// Error is for people.
func (e *DamagedError) Error() string {
	return fmt.Sprintf("the provisioning file is damaged (%v): write a new one with latchkey device add", e.cause)
}

// Unwrap is the cause.
func (e *DamagedError) Unwrap() error { return e.cause }

// Encode writes the file. The same device always gives the same bytes. What Check refuses is not written.
func (d *Device) Encode() ([]byte, error) {
	if err := d.Check(); err != nil {
		return nil, fmt.Errorf("provisioning file: %w", err)
	}
	r, err := d.record()
	if err != nil {
		return nil, fmt.Errorf("provisioning file: %w", err)
	}
	plain, err := wire.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("provisioning file: %w", err)
	}
	digest := sha256.Sum256(plain)
	r.Digest = digest[:]
	data, err := wire.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("provisioning file: %w", err)
	}
	if len(data) > MaxFile {
		return nil, fmt.Errorf("provisioning file of %d bytes, at most %d: leave out actions or URIs", len(data), MaxFile)
	}
	return data, nil
}

func (d *Device) record() (*record, error) {
	r := &record{
		Version: d.Version, ID: d.ID[:], RootKey: d.RootKey[:], ASURIs: orEmpty(d.ASURIs), Issuer: d.Issuer,
		ASKeys: []wire.RawMessage{}, RecoveryKey: null, Kind: d.Kind, Clock: d.Clock, Token: d.Token,
		Actions: []action{}, IDs: ids{Sender: orEmpty(d.SenderID), Recipient: orEmpty(d.RecipientID)},
		RequireCNonce: d.RequireCNonce, MasterSecret: d.MasterSecret, MasterSalt: d.MasterSalt,
	}
	if d.Profile != pop.ProfileCoAPOSCORE {
		r.Profile = d.Profile
	}
	for _, key := range d.ASKeys {
		encoded, err := key.Encode()
		if err != nil {
			return nil, err
		}
		r.ASKeys = append(r.ASKeys, encoded)
	}
	if d.RecoveryKey != nil {
		encoded, err := d.RecoveryKey.Encode()
		if err != nil {
			return nil, err
		}
		r.RecoveryKey = encoded
	}
	if d.PrivateKey != nil {
		r.PrivateKey = d.PrivateKey.Bytes()
	}
	for _, a := range d.Actions {
		r.Actions = append(r.Actions, action{Name: a.Name, Path: a.Path, Methods: a.Methods})
	}
	return r, nil
}

func orEmpty[S ~[]E, E any](s S) S {
	if s == nil {
		return S{}
	}
	return s
}

// Parse reads a file. It must be in deterministic encoding, hold every label and no unknown one, and match its digest:
// a device that starts with half a key is worse than one that does not start. Errors are a *DamagedError or say that
// the version is another.
func Parse(data []byte) (*Device, error) {
	if len(data) > MaxFile {
		return nil, &DamagedError{fmt.Errorf("%d bytes, at most %d", len(data), MaxFile)}
	}
	labels, err := split(data)
	if err != nil {
		return nil, &DamagedError{err}
	}
	if err := checkVersion(labels[labelVersion]); err != nil {
		return nil, err
	}
	var r record
	if err := wire.Unmarshal(data, &r); err != nil {
		return nil, &DamagedError{errors.New("a value has the wrong type")}
	}
	d, err := r.device()
	if err != nil {
		return nil, &DamagedError{err}
	}
	// Written again it must be the same: nothing was skipped, defaulted or spelled in a second way.
	again, err := d.Encode()
	if err != nil {
		return nil, &DamagedError{errors.Unwrap(err)}
	}
	if !bytes.Equal(again, data) {
		return nil, &DamagedError{errors.New("it holds something unknown")}
	}
	return d, nil
}

// split checks encoding and digest.
func split(data []byte) (map[int64]wire.RawMessage, error) {
	var labels map[int64]wire.RawMessage
	if err := wire.UnmarshalDeterministic(data, &labels); err != nil {
		return nil, errors.New("not a CBOR map in deterministic encoding")
	}
	var digest []byte
	if err := wire.Unmarshal(labels[labelDigest], &digest); err != nil {
		return nil, errors.New("no digest")
	}
	rest := make(map[int64]wire.RawMessage, len(labels))
	for label, value := range labels {
		if label != labelDigest {
			rest[label] = value
		}
	}
	plain, err := wire.Marshal(rest)
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(plain); subtle.ConstantTimeCompare(sum[:], digest) != 1 {
		return nil, errors.New("its digest does not match")
	}
	return labels, nil
}

func checkVersion(raw wire.RawMessage) error {
	var version uint
	if err := wire.Unmarshal(raw, &version); err != nil {
		return &DamagedError{errors.New("no version")}
	}
	if version != Version {
		return fmt.Errorf("provisioning file of version %d, this program reads %d: use the program that belongs to the server", version, Version)
	}
	return nil
}

func (r *record) device() (*Device, error) {
	d := &Device{
		Version: r.Version, ASURIs: r.ASURIs, Issuer: r.Issuer, Kind: r.Kind, Clock: r.Clock, Token: r.Token,
		SenderID: r.IDs.Sender, RecipientID: r.IDs.Recipient, RequireCNonce: r.RequireCNonce,
		Profile: r.Profile, MasterSecret: r.MasterSecret, MasterSalt: r.MasterSalt,
	}
	if copy(d.ID[:], r.ID) != len(r.ID) || copy(d.RootKey[:], r.RootKey) != len(r.RootKey) {
		return nil, errors.New("device id or root key has the wrong length")
	}
	if err := r.keys(d); err != nil {
		return nil, err
	}
	for _, a := range r.Actions {
		d.Actions = append(d.Actions, Action{Name: a.Name, Path: a.Path, Methods: a.Methods})
	}
	return d, nil
}

func (r *record) keys(d *Device) error {
	for _, encoded := range r.ASKeys {
		key, err := cose.ParseKey(encoded)
		if err != nil {
			return errors.New("a verification key is not a key")
		}
		d.ASKeys = append(d.ASKeys, key)
	}
	var err error
	if !bytes.Equal(r.RecoveryKey, null) {
		if d.RecoveryKey, err = cose.ParseKey(r.RecoveryKey); err != nil {
			return errors.New("recovery key is not a key")
		}
	}
	if len(r.PrivateKey) > 0 {
		if d.PrivateKey, err = ecdh.P256().NewPrivateKey(r.PrivateKey); err != nil {
			return errors.New("private key is not on P-256")
		}
	}
	return nil
}
