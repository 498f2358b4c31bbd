package authz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/latchkey-ace/latchkey/authz/attest"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/attestation"
	"github.com/latchkey-ace/latchkey/pop/jose"
)

// AttesterPlatform is the name of this server as an attester: it vouches for instances of which their platform has said enough. A
// client is registered with it as with any other.
const AttesterPlatform = "platform"

// VouchLife is how long the server vouches for an instance: as long as attestation services do.
const VouchLife = 5 * time.Minute

const eventVouch = "app.attest"

// Vouch makes an attestation of a client's instance and its key, which the caller has proven, as find finds it. A client that does
// not count on this server is *ace.Error invalid_client, an instance that is refused invalid_client_attestation; both are on record.
func (s *Server) Vouch(ctx context.Context, client string, key *jose.Key, find func(context.Context, *Client) (attest.Verdict, error)) (string, error) {
	entry := AuditEntry{Event: eventVouch, Result: "refused", Client: clip(client)}
	c, err := s.store.Client(ctx, client)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return "", err
	}
	if err != nil || !c.Attested() || !c.SuspendedAt.IsZero() || !slices.Contains(c.Settings.Attesters, AttesterPlatform) {
		entry.Reason = "no such client, or this server does not vouch for it"
		s.audit(ctx, entry)
		return "", &ace.Error{Code: ace.InvalidClient, Description: "unknown client or wrong credentials"}
	}
	found, err := find(ctx, &c)
	if err == nil && len(c.Settings.Apps) > 0 && !slices.Contains(c.Settings.Apps, found.App) {
		err = errors.New("the evidence is of another app")
	}
	if errors.Is(err, ErrUnavailable) {
		return "", err
	}
	if err != nil {
		entry.Reason = err.Error()
		s.audit(ctx, entry)
		return "", &ace.Error{Code: ace.InvalidClientAttestation, Description: publicReason(err)}
	}
	token, err := s.vouch(ctx, &c, key, found)
	if err != nil {
		return "", err
	}
	entry.Result, entry.Reason = "granted", found.String()
	s.audit(ctx, entry)
	return token, nil
}

// publicReason is what an app's developer is told: what evidence lacks is no secret, what is in the store is.
func publicReason(err error) string {
	switch {
	case errors.Is(err, ErrNotFound):
		return "this instance is not known here: show its attestation again"
	case errors.Is(err, ErrExists), errors.Is(err, ErrReplayed):
		return "this evidence was used before"
	}
	return err.Error()
}

func (s *Server) vouch(ctx context.Context, c *Client, key *jose.Key, found attest.Verdict) (string, error) {
	signer, err := s.signingKeys(ctx).signer(&Device{}, s.now())
	if err != nil {
		return "", fmt.Errorf("attestation: %w", err)
	}
	verdict, err := found.JSON()
	if err != nil {
		return "", fmt.Errorf("attestation: %w", err)
	}
	now := s.now()
	return attestation.Make(&attestation.Attestation{
		Attester: s.issuer, Client: c.ID, Key: key, IssuedAt: now, Expires: now.Add(VouchLife), Verdict: verdict,
	}, signer)
}

// PlatformKeys finds the keys under which this server vouches.
func (s *Server) PlatformKeys(kid string) (*jose.Key, error) {
	set, err := s.KeySet(context.Background())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return set.Find(kid)
}
