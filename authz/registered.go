package authz

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/latchkey-ace/latchkey/pop/ace"
)

// Events of registration in the audit log.
const (
	eventInvite     = "client.invite"
	eventUninvite   = "client.uninvite"
	eventRegister   = "client.register"
	eventUpdate     = "client.update"
	eventUnregister = "client.unregister"
)

// ID names an invitation for people. It says nothing of the token.
func (t *RegistrationToken) ID() string { return hex.EncodeToString(t.Hash[:min(len(t.Hash), 8)]) }

// Invite makes an initial access token (RFC 7591 §3) of t.Uses uses, 1 for 0, that ends at t.ExpiresAt, after InviteLife for the
// zero time. It fills the rest of t; the value is told here alone.
func (s *Server) Invite(ctx context.Context, t *RegistrationToken) (value string, err error) {
	now := s.now().UTC().Truncate(time.Millisecond)
	t.CreatedAt = now
	if t.Uses == 0 {
		t.Uses = 1
	}
	if t.ExpiresAt.IsZero() {
		t.ExpiresAt = now.Add(InviteLife)
	}
	switch {
	case t.Uses < 0 || t.Uses > MaxInviteUses:
		return "", fmt.Errorf("an invitation has 1 to %d uses", MaxInviteUses)
	case !t.ExpiresAt.After(now) || t.ExpiresAt.After(now.Add(MaxInviteLife)):
		return "", fmt.Errorf("an invitation lives %v at most, and some time", MaxInviteLife)
	case len(t.Allowed.GrantTypes) == 0 || len(t.Allowed.AuthMethods) == 0:
		return "", errors.New("an invitation allows a grant type and an authentication method at least")
	}
	if value, t.Hash, err = Secret(s.rand); err != nil {
		return "", err
	}
	if err := s.store.AddRegistrationToken(ctx, *t); err != nil {
		return "", err
	}
	s.audit(ctx, AuditEntry{Event: eventInvite, Result: "granted", Reason: "invitation " + t.ID() + ": " + clip(t.Note)})
	return value, nil
}

// Invitations lists the invitations that can be used, newest first.
func (s *Server) Invitations(ctx context.Context) ([]RegistrationToken, error) {
	return s.store.RegistrationTokens(ctx, s.now())
}

// EndInvitation takes back an invitation, named by its ID; ErrNotFound if there is none. Clients that have used it stay.
func (s *Server) EndInvitation(ctx context.Context, id string) error {
	all, err := s.Invitations(ctx)
	if err != nil {
		return err
	}
	for _, t := range all {
		if t.ID() == id {
			return s.store.EndRegistrationToken(ctx, t.Hash, s.entryOf(eventUninvite, "", "invitation "+id))
		}
	}
	return fmt.Errorf("invitation %q: %w", id, ErrNotFound)
}

func (s *Server) entryOf(event, client, reason string) AuditEntry {
	return AuditEntry{At: s.now(), Event: event, Result: "granted", Client: client, Reason: reason}
}

// badToken is the one answer to a registration token that is not good, whatever is wrong with it.
func (s *Server) badToken(ctx context.Context, event, client string) error {
	s.audit(ctx, AuditEntry{Event: event, Result: "refused", Client: clip(client), Reason: "registration token"})
	return &ace.Error{Code: ace.InvalidToken, Description: "unknown, expired or used up"}
}

// Invited finds the invitation whose token a request shows, without using it up; *ace.Error invalid_token if there is none.
func (s *Server) Invited(ctx context.Context, token string) (RegistrationToken, error) {
	t, err := s.store.RegistrationToken(ctx, HashSecret(token), s.now())
	if errors.Is(err, ErrNotFound) {
		return t, s.badToken(ctx, eventRegister, "")
	}
	return t, err
}

// RegistrationRefused puts on record that what somebody who was invited, or a client, wanted to register as was refused.
func (s *Server) RegistrationRefused(ctx context.Context, client string, refused *ace.Error) {
	event := eventUpdate
	if client == "" {
		event = eventRegister
	}
	s.audit(ctx, AuditEntry{Event: event, Result: "refused", Client: client, Reason: refused.Code.String()})
}

// Credentials are what is told once. They do not print.
type Credentials struct {
	Secret     string // client_secret; "" without
	Management string // registration_access_token (RFC 7592)
}

const hidden = "[redacted]"

// Format hides them from every verb.
func (Credentials) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, hidden) }

// RegisterClient uses up one use of an invitation and adds the client, with an id, a registration access token and, for the
// methods that have one, a secret, all made here. c must have been checked. An invitation that was used up meanwhile is
// *ace.Error invalid_token, and nothing has changed.
func (s *Server) RegisterClient(ctx context.Context, by RegistrationToken, c *Client) (Credentials, error) {
	var told Credentials
	id := make([]byte, clientIDSize)
	if _, err := io.ReadFull(s.rand, id); err != nil {
		return told, fmt.Errorf("client id: %w", err)
	}
	c.ID, c.CreatedAt = "c_"+base64.RawURLEncoding.EncodeToString(id), s.now().UTC().Truncate(time.Second)
	var err error
	if told.Management, c.Management, err = Secret(s.rand); err != nil {
		return told, err
	}
	if told.Secret, err = s.giveSecret(c); err != nil {
		return told, err
	}
	entry := s.entryOf(eventRegister, c.ID, "invitation "+by.ID())
	err = s.store.RegisterClient(ctx, by.Hash, *c, entry)
	switch {
	case errors.Is(err, ErrNotFound):
		return Credentials{}, s.badToken(ctx, eventRegister, "")
	case err != nil:
		return Credentials{}, err
	}
	s.observeEntry(entry)
	return told, nil
}

// giveSecret makes a secret for a client that is to have one and has none.
func (s *Server) giveSecret(c *Client) (value string, err error) {
	switch {
	case c.AuthMethod != AuthSecretBasic && c.AuthMethod != AuthSecretPost:
		c.SecretHash = nil
	case c.SecretHash == nil:
		value, c.SecretHash, err = Secret(s.rand)
	}
	return value, err
}

// ManagedClient finds the client that a registration access token is of. Unknown, suspended, another's and not registered by
// itself are one answer after the same work: *ace.Error invalid_token.
func (s *Server) ManagedClient(ctx context.Context, id, token string) (Client, error) {
	c, err := s.store.Client(ctx, id)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return Client{}, err
	}
	right := subtle.ConstantTimeCompare(HashSecret(token), c.Management) == 1 // nil is nothing's hash
	if err != nil || !right || !c.SuspendedAt.IsZero() || c.Settings.Registered == nil {
		return Client{}, s.badToken(ctx, "client.manage", id)
	}
	return c, nil
}

// ReplaceClient replaces the registration of a client (RFC 7592 §2.2). c must have been checked; secret is told if it has one
// now and had none before.
func (s *Server) ReplaceClient(ctx context.Context, c *Client) (secret string, err error) {
	if secret, err = s.giveSecret(c); err != nil {
		return "", err
	}
	entry := s.entryOf(eventUpdate, c.ID, "")
	if err := s.managed(ctx, entry, s.store.ReplaceClient(ctx, *c, entry)); err != nil {
		return "", err
	}
	return secret, nil
}

// UnregisterClient ends a client at its own wish (RFC 7592 §2.3): its refresh tokens and tokens, the grants to it, its record.
// After an error it can be asked for again, unless the client is gone: then what it was given in the same moment ends by itself,
// and introspection tells of none of it.
func (s *Server) UnregisterClient(ctx context.Context, c *Client) error {
	end := EndSpec{Client: c.ID, Audit: s.entryOf("client.end", c.ID, "unregistered")}
	if _, err := s.store.End(ctx, end, s.now()); err != nil { // nearly all, in steps that hold nobody up
		return fmt.Errorf("unregister: %w", err)
	}
	entry := s.entryOf(eventUnregister, c.ID, "")
	if err := s.managed(ctx, entry, s.store.UnregisterClient(ctx, c.ID, c.Management, entry)); err != nil {
		return err
	}
	if _, err := s.store.End(ctx, end, s.now()); err != nil { // what was minted between the two
		return fmt.Errorf("unregister: %w", err)
	}
	return nil
}

// managed tells of a client that went, or was suspended, after its token had been found good.
func (s *Server) managed(ctx context.Context, entry AuditEntry, err error) error {
	if errors.Is(err, ErrNotFound) {
		return s.badToken(ctx, entry.Event, entry.Client)
	}
	if err != nil {
		return err
	}
	s.observeEntry(entry)
	return nil
}
