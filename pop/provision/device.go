// Package provision is what a device is given before it is installed: the provisioning file of D23, the ladder of keys
// that derive from its root key (D2), and the names of its properties.
//
// It reads and writes bytes, no files: who stores them must keep them from every other eye (mode 0600). Start from
// Device.
package provision

import (
	"crypto/ecdh"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/cose"
)

// Version of the file. A program refuses files of another one.
const Version = 1

// Device is the content of a provisioning file.
type Device struct {
	Version       uint
	ID            DeviceID
	RootKey       [32]byte
	ASURIs        []string    // where to register, in order of preference; none for a device without a network
	Issuer        string      // the iss of its tokens
	ASKeys        []*cose.Key // verify its tokens; public, each with a key id
	RecoveryKey   *cose.Key   // verifies a reset of time or epoch (D16); nil without one
	PrivateKey    *ecdh.PrivateKey
	Kind          Kind
	Clock         Clock
	Token         Shape
	Actions       []Action
	SenderID      []byte      // the device's OSCORE Sender ID towards its server
	RecipientID   []byte      // the server's
	MasterSecret  []byte      // of a channel that the device had before it was provisioned; nil: it derives from RootKey (D2)
	MasterSalt    []byte      // beside MasterSecret; may be nil
	RequireCNonce bool        // accept no token without a fresh cnonce (D16)
	Profile       pop.Profile // how phones talk to it, as its server does under OSCORE anyway (D1); 0: coap_oscore
}

// Action is a name for people and what it allows on the device.
type Action struct {
	Name    string
	Path    string
	Methods aif.Methods
}

const redacted = "[redacted]"

// Format hides the device's keys from every verb.
func (Device) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// LogValue hides the device's keys from logs.
func (Device) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText hides the device's keys from JSON.
func (Device) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Audience is the aud of the device's tokens.
func (d *Device) Audience() string { return Audience(d.ID) }

// Rights are what all actions together allow.
func (d *Device) Rights() aif.Rights {
	var entries []aif.Entry
	for _, a := range d.Actions {
		entries = append(entries, aif.Entry{Path: a.Path, Methods: a.Methods})
	}
	return aif.New(entries...)
}

// Check says why the device cannot be provisioned, or nil.
func (d *Device) Check() error {
	for _, check := range []func() error{d.checkIdentity, d.checkURIs, d.checkProperties, d.checkKeys, d.checkActions} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (d *Device) checkIdentity() error {
	var noKey [32]byte
	switch {
	case d.Version != Version:
		return fmt.Errorf("version %d, this program knows %d: use the program that belongs to the server", d.Version, Version)
	case subtle.ConstantTimeCompare(d.RootKey[:], noKey[:]) == 1:
		return errors.New("root key is all zero")
	case d.MasterSecret != nil && (len(d.MasterSecret) < MinRoot || len(d.MasterSecret) > MaxRoot) || len(d.MasterSalt) > MaxRoot:
		return fmt.Errorf("a channel secret of less than %d bytes, or more than %d of it or its salt", MinRoot, MaxRoot)
	case d.MasterSecret == nil && d.MasterSalt != nil:
		return errors.New("a channel salt without its secret")
	case len(d.SenderID) > MaxSenderID || len(d.RecipientID) > MaxSenderID:
		return fmt.Errorf("OSCORE id longer than %d bytes", MaxSenderID)
	case string(d.SenderID) == string(d.RecipientID):
		// RFC 8613 §3.3: equal ids would give both directions one key and one set of nonces.
		return errors.New("OSCORE ids of device and server are equal")
	}
	return nil
}

func (d *Device) checkURIs() error {
	if len(d.ASURIs) > MaxURIs {
		return fmt.Errorf("%d server URIs, at most %d", len(d.ASURIs), MaxURIs)
	}
	if d.Issuer == "" {
		return errors.New("no issuer")
	}
	for _, uri := range append([]string{d.Issuer}, d.ASURIs...) {
		if len(uri) > MaxURI || !strings.Contains(uri, ":") || strings.ContainsFunc(uri, notURI) {
			return errors.New("a server URI or the issuer is not an absolute URI")
		}
	}
	return nil
}

func notURI(r rune) bool { return r <= ' ' || r > '~' }

func (d *Device) checkProperties() error {
	switch {
	case nameOf(kinds, int(d.Kind)) == "unknown":
		return errors.New("unknown device kind")
	case nameOf(clocks, int(d.Clock)) == "unknown":
		return errors.New("unknown clock")
	case nameOf(shapes, int(d.Token)) == "unknown":
		return errors.New("unknown token shape")
	case d.Profile != 0 && d.Profile != pop.ProfileCoAPOSCORE && d.Profile != pop.ProfileCoAPDTLS:
		return errors.New("unknown profile")
	case d.Profile == pop.ProfileCoAPDTLS && d.Token != ShapeEncrypt0:
		return fmt.Errorf("tokens of shape %s can hold no DTLS key (D7)", d.Token)
	}
	return nil
}

func (d *Device) checkKeys() error {
	switch {
	case len(d.ASKeys) > MaxKeys:
		return fmt.Errorf("%d verification keys, at most %d", len(d.ASKeys), MaxKeys)
	case d.Token.Signed() && len(d.ASKeys) == 0:
		return fmt.Errorf("tokens of shape %s need a verification key", d.Token)
	case d.Token.NeedsPrivateKey() && d.PrivateKey == nil:
		return fmt.Errorf("tokens of shape %s need a private key in the device", d.Token)
	case d.PrivateKey != nil && d.PrivateKey.Curve() != ecdh.P256():
		return errors.New("private key is not on P-256")
	}
	for _, key := range d.ASKeys {
		if key == nil || key.Public() == nil {
			return errors.New("a verification key is not a public key on P-256")
		}
	}
	if d.RecoveryKey != nil && d.RecoveryKey.Public() == nil {
		return errors.New("recovery key is not a public key on P-256")
	}
	return nil
}

func (d *Device) checkActions() error {
	if len(d.Actions) > MaxActions {
		return fmt.Errorf("%d actions, at most %d", len(d.Actions), MaxActions)
	}
	seen := make(map[string]bool)
	for _, a := range d.Actions {
		if err := a.Check(); err != nil {
			return err
		}
		if seen[a.Name] {
			return fmt.Errorf("action %s stands twice", a.Name)
		}
		seen[a.Name] = true
	}
	return nil
}

// Check says why an action cannot be used, or nil. Its name is one scope word of a-z, 0-9, "-", "_" and ".", so that
// it is never taken for a "/path:METHOD".
func (a Action) Check() error {
	if a.Name == "" || len(a.Name) > MaxName || strings.ContainsFunc(a.Name, notName) {
		return fmt.Errorf("action name %q: want 1 to %d letters a-z, digits and - _ . only", a.Name, MaxName)
	}
	if err := aif.CheckPath(a.Path); err != nil {
		return fmt.Errorf("action %s: %w", a.Name, err)
	}
	if a.Methods == 0 || !a.Methods.Valid() {
		return fmt.Errorf("action %s: no methods, or unknown ones", a.Name)
	}
	return nil
}

func notName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
}

// ParseAction reads "name=/path:METHOD,METHOD", the form of the command line.
func ParseAction(s string) (Action, error) {
	name, right, ok := strings.Cut(s, "=")
	if !ok {
		return Action{}, fmt.Errorf("action %q: write it as unlock=/door/unlock:POST", s)
	}
	e, err := aif.ParseEntry(right)
	if err != nil {
		return Action{}, fmt.Errorf("action %s: %w", name, err)
	}
	a := Action{Name: name, Path: e.Path, Methods: e.Methods}
	return a, a.Check()
}

// String is the action as ParseAction reads it.
func (a Action) String() string { return a.Name + "=" + a.Path + ":" + a.Methods.String() }
