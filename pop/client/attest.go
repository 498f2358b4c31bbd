package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/attestation"
)

// voucher shows that an app instance is genuine: an attestation, and the server's challenge in the DPoP proof.
type voucher struct {
	get func(ctx context.Context, fresh bool) (string, error)

	mu        sync.Mutex
	token     string // the attestation; "" before the first
	stale     bool   // the last one was too old
	challenge string // good once; "" where there is none
}

// show puts the attestation into a request and returns the challenge for its proof.
func (c *Client) show(r *http.Request) (challenge string, err error) {
	v := c.vouch
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.token == "" {
		if v.token, err = v.get(r.Context(), v.stale); err != nil {
			return "", fmt.Errorf("attestation: %w", err)
		}
	}
	if v.challenge == "" {
		if v.challenge, err = c.askChallenge(r.Context()); err != nil {
			return "", fmt.Errorf("attestation challenge: %w", err)
		}
	}
	r.Header.Set(attestation.HeaderAttestation, v.token)
	challenge, v.challenge = v.challenge, ""
	return challenge, nil
}

func (c *Client) askChallenge(ctx context.Context) (string, error) {
	if c.at.Challenge == "" {
		return "", errors.New("this server takes no attestations")
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.at.Challenge, http.NoBody)
	if err != nil {
		return "", err
	}
	status, body, err := c.do(request)
	if err != nil {
		return "", err
	}
	var answer map[string]json.RawMessage
	var challenge string
	if status != http.StatusOK || json.Unmarshal(body, &answer) != nil || json.Unmarshal(answer[attestation.MemberChallenge], &challenge) != nil || challenge == "" {
		return "", fmt.Errorf("status %d without a challenge", status)
	}
	return challenge, nil
}

// learn keeps the challenge for the next request, and reports whether the server wants this one again: with it, or with a fresh
// attestation.
func (v *voucher) learn(response *http.Response, refused error) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.challenge = response.Header.Get(attestation.HeaderChallenge)
	var wire *ace.Error
	if !errors.As(refused, &wire) {
		return false
	}
	if wire.Code == ace.UseFreshAttestation {
		v.token, v.stale = "", true
	}
	return wire.Code == ace.UseFreshAttestation || wire.Code == ace.UseAttestationChallenge && v.challenge != ""
}
