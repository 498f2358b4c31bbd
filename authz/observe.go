package authz

import (
	"context"
	"errors"

	"github.com/latchkey-ace/latchkey/authz/throttle"
	"github.com/latchkey-ace/latchkey/pop/ace"
)

// Observation is a decision for those who count: no names and no secrets. What stands in GrantType and Reason may be what a
// stranger wrote, so neither is fit to be a label as it is.
type Observation struct {
	Event     string // as in the audit log
	Result    string // granted, refused, or failed for a fault of this server
	GrantType string // of token requests
	Reason    string // of refusals: the error code of token requests, else the reason in the audit log
}

func (s *Server) observed(o Observation) {
	if s.observe != nil {
		s.observe(o)
	}
}

// observeEntry leaves out what is observed where more is known of it: token requests, and refusals that are on record once
// for many.
func (s *Server) observeEntry(e AuditEntry) {
	if e.Event != "token" && e.Event != eventThrottle {
		s.observed(Observation{Event: e.Event, Result: e.Result, Reason: e.Reason})
	}
}

func (s *Server) observeToken(grantType string, err error) {
	o := Observation{Event: "token", Result: "granted", GrantType: grantType}
	var refused *ace.Error
	switch {
	case errors.As(err, &refused):
		o.Result, o.Reason = "refused", refused.Code.String()
	case err != nil:
		o.Result = "failed"
	}
	s.observed(o)
}

const eventThrottle = "throttle"

// slowedDown notes that somebody is slowed down: once, until they are served again.
func (s *Server) slowedDown(kind throttle.Kind, key string) {
	s.audit(context.Background(), AuditEntry{Event: eventThrottle, Result: "refused", Reason: clip(string(kind) + ": " + key)})
}

// slowed counts every refusal.
func (s *Server) slowed(kind throttle.Kind) {
	s.observed(Observation{Event: eventThrottle, Result: "refused", Reason: string(kind)})
}
