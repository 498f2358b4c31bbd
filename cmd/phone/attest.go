package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"time"

	"github.com/latchkey-ace/latchkey/authz/attest/reference"
	"github.com/latchkey-ace/latchkey/pop/attestation"
	"github.com/latchkey-ace/latchkey/pop/client"
	"github.com/latchkey-ace/latchkey/pop/jose"
)

// maxVouched bounds an attester's answer, in bytes.
const maxVouched = 64 << 10

// attested lets the attester look at this very program and its maker's signature, and vouch for its key.
func attested(ctx context.Context, m memory, key crypto.Signer) (string, error) {
	var out struct {
		Attestation string `json:"attestation"`
	}
	s, err := m.statement(ctx, key)
	if err == nil {
		err = vouch(ctx, m.Attester+"/attest", s, &out)
	}
	if err == nil && out.Attestation == "" {
		err = errors.New("the attester's answer holds no attestation")
	}
	return out.Attestation, err
}

// statement is what this app says of itself, in answer to a challenge.
func (m *memory) statement(ctx context.Context, key crypto.Signer) (s reference.Statement, err error) {
	var asked struct {
		Challenge string `json:"challenge"`
		Offset    int    `json:"offset"`
	}
	if err := vouch(ctx, m.Attester+"/challenge", map[string]string{"app": m.App}, &asked); err != nil {
		return s, err
	}
	program, err := os.Executable()
	if err != nil {
		return s, err
	}
	content, err := os.ReadFile(program)
	if err != nil {
		return s, err
	}
	signature, err := os.ReadFile(program + ".sig")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	public, err := jose.NewKey(key.Public(), "")
	if err != nil {
		return s, err
	}
	s = reference.Statement{
		App: m.App, Challenge: asked.Challenge, Content: reference.Digest(asked.Challenge, content, asked.Offset),
		Signature: reference.Digest(asked.Challenge, signature, 0),
	}
	if s.Key, err = public.JWK(); err != nil {
		return s, err
	}
	s.Proof, err = attestation.Prove(attestation.ProofFor{Audience: m.Attester, Challenge: asked.Challenge}, key, time.Now(), rand.Reader)
	return s, err
}

// vouch asks an attester; its refusal is an error.
func vouch(ctx context.Context, address string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := client.NewHTTP().Do(request)
	if err != nil {
		return fmt.Errorf("the attester cannot be reached, try again: %w", err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxVouched))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		var refused struct {
			Error string `json:"error"`
		}
		_ = json.Unmarshal(answer, &refused) // else the status is all there is to say
		return fmt.Errorf("the attester does not vouch for this app (status %d): %s", response.StatusCode, refused.Error)
	}
	return json.Unmarshal(answer, out)
}
