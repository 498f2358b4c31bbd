package authz

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// Party is something that can be suspended: exactly one field is set.
type Party struct {
	Client string
	User   string
	Device provision.DeviceID
	Grant  pop.GrantID
}

// suspendable is how a party is suspended, and what it is called in the audit log.
type standing struct {
	what    string
	suspend func(ctx context.Context, at time.Time) error
	entry   AuditEntry
	end     EndSpec
}

func (s *Server) suspendable(p Party) (standing, error) {
	var found []standing
	if p.Client != "" {
		found = append(found, standing{"client", func(ctx context.Context, at time.Time) error { return s.store.SuspendClient(ctx, p.Client, at) },
			AuditEntry{Client: p.Client}, EndSpec{Client: p.Client}})
	}
	if p.User != "" {
		found = append(found, standing{"user", func(ctx context.Context, at time.Time) error { return s.store.SuspendUser(ctx, p.User, at) },
			AuditEntry{User: p.User}, EndSpec{User: p.User}})
	}
	if p.Device != (provision.DeviceID{}) {
		found = append(found, standing{"device", func(ctx context.Context, at time.Time) error { return s.store.SuspendDevice(ctx, p.Device, at) },
			AuditEntry{Device: provision.Audience(p.Device)}, EndSpec{Device: p.Device}})
	}
	if p.Grant != (pop.GrantID{}) {
		found = append(found, standing{"grant", func(ctx context.Context, at time.Time) error { return s.store.SuspendGrant(ctx, p.Grant, at) },
			AuditEntry{Grant: p.Grant}, EndSpec{Grant: p.Grant}})
	}
	if len(found) != 1 {
		return standing{}, errors.New("exactly one party must be named")
	}
	return found[0], nil
}

// Suspend stops a party: once it has returned nothing is minted that it has a part in, it cannot sign in, and introspection
// tells of none of its tokens. Tokens that devices judge themselves work until they end; EndTokens ends them. reason is for the
// audit log.
func (s *Server) Suspend(ctx context.Context, p Party, reason string) error {
	return s.change(ctx, p, ".suspend", s.now(), reason)
}

// Resume lets a party go on.
func (s *Server) Resume(ctx context.Context, p Party, reason string) error {
	return s.change(ctx, p, ".resume", time.Time{}, reason)
}

func (s *Server) change(ctx context.Context, p Party, event string, at time.Time, reason string) error {
	of, err := s.suspendable(p)
	if err != nil {
		return err
	}
	if err := of.suspend(ctx, at); err != nil {
		return fmt.Errorf("suspend: %w", err)
	}
	of.entry.Event, of.entry.Result, of.entry.Reason = of.what+event, "granted", clip(reason)
	s.audit(ctx, of.entry)
	return nil
}

// EndTokens ends every token and refresh token that a party has a part in and returns how many tokens there were. Devices that
// are pushed to are told by the outbox.
func (s *Server) EndTokens(ctx context.Context, p Party) (int, error) {
	of, err := s.suspendable(p)
	if err != nil {
		return 0, err
	}
	now := s.now()
	of.end.Audit = of.entry
	of.end.Audit.At, of.end.Audit.Event, of.end.Audit.Result = now, of.what+".end", "granted"
	ended, err := s.store.End(ctx, of.end, now)
	if err != nil {
		return 0, fmt.Errorf("end tokens: %w", err)
	}
	return len(ended), nil
}
