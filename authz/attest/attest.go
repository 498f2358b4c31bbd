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

	"github.com/latchkey-ace/latchkey/pop/grade"
)

// The words are those of tokens (pop/grade).
type (
	Kind    = grade.Kind
	Keeping = grade.Keeping
	System  = grade.System
)

// Words, as in pop/grade.
const (
	None           = grade.None
	Service        = grade.Service
	AppAttest      = grade.AppAttest
	KeyAttestation = grade.KeyAttestation
	PlayIntegrity  = grade.PlayIntegrity
	Development    = grade.Development

	KeyUnknown   = grade.KeyUnknown
	KeySoftware  = grade.KeySoftware
	KeyHardware  = grade.KeyHardware
	KeyStrongBox = grade.KeyStrongBox

	SystemUnknown  = grade.SystemUnknown
	SystemDegraded = grade.SystemDegraded
	SystemVerified = grade.SystemVerified
)

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

// Grade is what of it stands in a token for a device.
func (v *Verdict) Grade() grade.Grade { return grade.Grade{Kind: v.Kind, Key: v.Key, System: v.System} }
