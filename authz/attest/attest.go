// Package attest says how far an instance of an app can be trusted: what somebody who looked at it found (Verdict), and what is asked
// of it (Demand).
//
// It is pure: no clock, no store, no network. Where a verdict comes from, packages below it know, one for each kind of evidence, and
// authz/clientauth, which reads what attestation services sign. Who asks for what, authz/policy knows. Start from Verdict.
package attest

import (
	"encoding/json"
	"fmt"
	"time"
)

// Kind is the kind of evidence that a verdict stands on.
type Kind uint8

// Kinds of evidence.
const (
	None           Kind = iota // nobody has looked
	Service                    // an attestation service said so, by its own means
	AppAttest                  // Apple App Attest
	KeyAttestation             // Android Key Attestation
	PlayIntegrity              // Google Play Integrity
	Development                // the reference attester, which proves nothing
)

// Keeping is where the key of the instance is kept. What is better comes later.
type Keeping uint8

// Places of keys.
const (
	KeyUnknown   Keeping = iota // nobody has said
	KeySoftware                 // the system's, which who owns the system can read
	KeyHardware                 // a trusted environment or a Secure Enclave: it cannot be copied
	KeyStrongBox                // a chip of its own
)

// System is the state of the phone's system. What is better comes later.
type System uint8

// States of a system.
const (
	SystemUnknown  System = iota // nobody has said
	SystemDegraded               // changed, unlocked, out of date or a development build
	SystemVerified               // as its maker signed it
)

var (
	kinds    = names[Kind]{"none", "service", "app-attest", "key-attestation", "play-integrity", "development"}
	keepings = names[Keeping]{"unknown", "software", "hardware", "strongbox"}
	systems  = names[System]{"unknown", "degraded", "verified"}
)

// names are the words for values, in their order; they stand in settings, tokens and the audit log and never change.
type names[T ~uint8] []string

func (n names[T]) of(v T) string {
	if int(v) < len(n) {
		return n[v]
	}
	return "unknown"
}

func (n names[T]) parse(text string) (T, error) {
	for i, name := range n {
		if name == text {
			return T(i), nil
		}
	}
	return 0, fmt.Errorf("%.32q is none of %v", text, []string(n))
}

func (k Kind) String() string    { return kinds.of(k) }
func (k Keeping) String() string { return keepings.of(k) }
func (s System) String() string  { return systems.of(s) }

// MarshalText writes the word, which UnmarshalText of the same type reads.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a word.
func (k *Kind) UnmarshalText(text []byte) (err error) {
	*k, err = kinds.parse(string(text))
	return err
}

// MarshalText writes the word, which UnmarshalText of the same type reads.
func (k Keeping) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads a word.
func (k *Keeping) UnmarshalText(text []byte) (err error) {
	*k, err = keepings.parse(string(text))
	return err
}

// MarshalText writes the word, which UnmarshalText of the same type reads.
func (s System) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a word.
func (s *System) UnmarshalText(text []byte) (err error) {
	*s, err = systems.parse(string(text))
	return err
}

// Verdict is what was found out about an instance of an app. The zero value says that nobody has looked.
type Verdict struct {
	Kind   Kind      `json:"kind"`
	App    string    `json:"app,omitempty"` // as its platform names it: team and bundle id, or package; "" where nobody said
	Key    Keeping   `json:"key"`
	System System    `json:"os"`
	At     time.Time `json:"at"` // when it was found; whole seconds
}

// JSON writes a verdict as it stands in tokens (latchkey_verdict).
func (v Verdict) JSON() (json.RawMessage, error) {
	v.At = v.At.UTC().Truncate(time.Second)
	return json.Marshal(v)
}

// String is a verdict for the audit log.
func (v Verdict) String() string {
	if v.Kind == None {
		return "not attested"
	}
	return fmt.Sprintf("%v, app %.128q, key %v, os %v, at %s", v.Kind, v.App, v.Key, v.System, v.At.UTC().Format(time.RFC3339))
}
