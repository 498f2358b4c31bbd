package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/latchkey-ace/latchkey/pop/ace"
)

const (
	maxBusy      = 3                // times that a server may say it is busy with this refresh token
	maxBusyPause = 30 * time.Second // then the person is better served by a new login
)

// ErrNoRefresh says that the session came without a refresh token: log in again.
var ErrNoRefresh = errors.New("this session cannot be renewed: log in again")

// Refresh gets a new token for the same key by the session's refresh token (RFC 6749 §6). The device knows the old token
// until it is shown the new one: by the server, if upload is asked for, or by Deliver. Calls at the same time become one:
// whoever finds the token renewed since returns at once.
//
// What the server says is saved before Refresh returns. When its answer is lost, the same refresh token may be used again
// soon after; later the server takes that for theft and ends the session.
func (s *Session) Refresh(ctx context.Context, c *Client, upload bool) error {
	before := s.Saved()
	s.refreshing.Lock()
	defer s.refreshing.Unlock()
	now := s.Saved()
	if now.Refresh != before.Refresh || !now.ExpiresAt.Equal(before.ExpiresAt) {
		return nil // another call has just done it
	}
	if now.Refresh == "" {
		return ErrNoRefresh
	}
	p, err := s.propose()
	if err != nil {
		return err
	}
	w := Want{Audience: now.Audience, Upload: upload}
	request, err := w.request(p)
	if err != nil {
		return err
	}
	request.GrantType, request.Audience, request.RefreshToken = ace.GrantRefreshToken, "", now.Refresh
	response, err := c.patiently(ctx, request)
	if err != nil {
		return err
	}
	return s.renew(response, w, p, c.Now())
}

// patiently asks again when the server is busy with the very token, as it says.
func (c *Client) patiently(ctx context.Context, request ace.TokenRequest) (*ace.TokenResponse, error) {
	for try := 1; ; try++ {
		response, err := c.Request(ctx, request)
		var busy *BusyError
		if !errors.As(err, &busy) || try > maxBusy || busy.After > maxBusyPause {
			return response, err
		}
		if err := c.wait(ctx, busy.After); err != nil {
			return nil, err
		}
	}
}

// renew takes the answer. The key must be the one that the device knows (RFC 9200 §5.8.2).
func (s *Session) renew(r *ace.TokenResponse, w Want, p proposal, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.saved
	if r.RefreshToken != "" {
		s.saved.Refresh = r.RefreshToken // kept whatever else is wrong: the old one is used up
	}
	err := s.take(r, w, p, now)
	if err == nil && (string(old.KeyID) != string(s.saved.KeyID) || string(old.Secret) != string(s.saved.Secret)) {
		err = errors.New("token response: another key than before")
	}
	if err != nil {
		refresh := s.saved.Refresh
		s.saved, s.keys = old, nil
		s.saved.Refresh = refresh
		return errors.Join(fmt.Errorf("refresh: %w", err), s.save(s.saved))
	}
	return s.save(s.saved)
}
