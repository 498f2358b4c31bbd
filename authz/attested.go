package authz

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"slices"

	"github.com/latchkey-ace/latchkey/authz/attest"
	"github.com/latchkey-ace/latchkey/authz/policy"
	"github.com/latchkey-ace/latchkey/internal/checks"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/grade"
)

// Attested is what vouches for the app instance behind a request. authz/clientauth makes it.
type Attested struct {
	Attester string // by its name in the configuration
	Instance []byte // SHA-256 thumbprint of the instance key, which the request has proven; nil for a request without one
	Verdict  attest.Verdict
}

// words are for the audit log.
func (a *Attested) words() string {
	if a == nil {
		return ""
	}
	return fmt.Sprintf("attested by %.64q: %v", a.Attester, a.Verdict)
}

// joinReasons is why a request was refused, with what was known of the app instance.
func joinReasons(why, attested string) string {
	if attested == "" {
		return why
	}
	return why + "; " + attested
}

func (c *Caller) verdict() attest.Verdict {
	if c.Attested == nil {
		return attest.Verdict{}
	}
	return c.Attested.Verdict
}

// grade is what a device learns of it.
func (c *Caller) grade() grade.Grade {
	v := c.verdict()
	return v.Grade()
}

// attestedMethods are those by which an app instance shows itself in each request.
var attestedMethods = []AuthMethod{AuthAttested, AuthAttestedDPoP, AuthIntegrity}

// Attested reports whether somebody must vouch for each instance of the client.
func (c *Client) Attested() bool { return slices.Contains(attestedMethods, c.AuthMethod) }

// checkAttested lets no request of such a client reach a mint without it, whatever face it came by: the faces authenticate, and
// this does not trust them.
func (s *Server) checkAttested(_ context.Context, r *request) error { return r.caller.attested() }

func (c *Caller) attested() error {
	if a := c.Attested; a != nil && a.Instance != nil && c.DPoP != nil && subtle.ConstantTimeCompare(a.Instance, c.DPoP) != 1 {
		return &ace.Error{Code: ace.InvalidDPoPProof, Description: "the proof must be made with the key of the app instance"}
	}
	if checks.Attestation && c.Client.Attested() && c.Attested == nil {
		return &reasonError{told: &ace.Error{Code: ace.InvalidClient, Description: "unknown client or wrong credentials"}, reason: "nobody vouches for the app instance"}
	}
	return nil
}

// checkSpread keeps one genuine installation from serving the many: whoever lends it out is slowed down, and whoever borrows.
func (s *Server) checkSpread(_ context.Context, r *request) error {
	if a := r.caller.Attested; a != nil && a.Instance != nil {
		return s.limits.Together(r.shown.user, base64.RawURLEncoding.EncodeToString(a.Instance))
	}
	return nil
}

// Mediated puts on record that an app instance was let through to another server, for which this one adds its client's secret.
func (s *Server) Mediated(ctx context.Context, client string, by *Attested) {
	s.audit(ctx, AuditEntry{Event: "app.pass", Result: "granted", Client: client, Reason: by.words()})
}

// question is what is asked of the policy.
type question struct {
	device  *Device
	client  *Client
	subject Subject
	asked   aif.Rights
	verdict attest.Verdict
	anyAge  bool // of the verdict
}

// demandsOf is what has to be known of an app instance, for the client's sake and for the device's.
func demandsOf(d *Device, c *Client) (all []policy.Demand) {
	if c.Settings.Demand.Demanding() {
		all = append(all, policy.Demand{Rights: d.Rights(), Demand: c.Settings.Demand})
	}
	for i := range d.Actions {
		a := &d.Actions[i]
		if demand, ok := d.Demands[a.Name]; ok {
			all = append(all, policy.Demand{Rights: aif.New(aif.Entry{Path: a.Path, Methods: a.Methods}), Demand: demand})
		}
	}
	return all
}
