// Package grade has the words for what is known of an instance of an app: who looked at it, where its key is kept, and the state of its
// phone (D21).
//
// The authorization server judges by them, and they stand in its tokens so that a device can judge too. Start from Grade.
package grade

import (
	"encoding/json"
	"fmt"
)

// Kind is the kind of evidence that a finding stands on.
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

// Grade is what was known of the app instance when its token was made. The zero value: nobody had looked.
type Grade struct {
	Kind   Kind
	Key    Keeping
	System System
}

// Max is the largest number in a grade. There is room beyond the words of today: what a newer server knows must not make its
// tokens unreadable to an older device.
const Max = 15

// Numbers are [kind, key, os], as they stand in tokens, in the order of the words.
func (g Grade) Numbers() []uint {
	return []uint{uint(g.Kind), uint(g.Key), uint(g.System)}
}

// Of is the grade of three numbers; one of nobody, or beyond Max, is an error.
func Of(numbers []uint) (Grade, error) {
	if len(numbers) != 3 || numbers[0] == 0 || max(numbers[0], numbers[1], numbers[2]) > Max {
		return Grade{}, fmt.Errorf("not [kind, key, os] of 0 to %d", Max)
	}
	return Grade{Kind(numbers[0]), Keeping(numbers[1]), System(numbers[2])}, nil
}

// MarshalJSON writes the numbers.
func (g Grade) MarshalJSON() ([]byte, error) { return json.Marshal(g.Numbers()) }

// UnmarshalJSON reads them, as Of does.
func (g *Grade) UnmarshalJSON(text []byte) (err error) {
	var numbers []uint
	if err = json.Unmarshal(text, &numbers); err == nil {
		*g, err = Of(numbers)
	}
	return err
}

// String is a grade in words.
func (g Grade) String() string {
	if g.Kind == None {
		return "not attested"
	}
	return fmt.Sprintf("%v, key %v, os %v", g.Kind, g.Key, g.System)
}
