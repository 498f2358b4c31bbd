package client

import (
	"crypto"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/jose"
)

// prover makes the proofs of an app instance (RFC 9449). It is nil for an app without a key.
type prover struct {
	key        crypto.Signer
	thumbprint string

	mu    sync.Mutex
	nonce string // what the server gave last
}

func newProver(key crypto.Signer) (*prover, error) {
	if key == nil {
		return nil, nil
	}
	public, err := jose.NewKey(key.Public(), "")
	if err != nil {
		return nil, fmt.Errorf("DPoP key: %w", err)
	}
	return &prover{key: key, thumbprint: public.Thumbprint().String()}, nil
}

// sign puts a fresh proof into a request.
func (c *Client) sign(r *http.Request) error {
	p := c.prover
	if p == nil {
		return nil
	}
	p.mu.Lock()
	nonce := p.nonce
	p.mu.Unlock()
	if c.vouch != nil {
		var err error
		if nonce, err = c.show(r); err != nil {
			return err
		}
	}
	proof, err := jose.Prove(jose.ProofFor{Method: r.Method, URL: r.URL.String(), Nonce: nonce}, p.key, c.Now(), c.Rand)
	if err != nil {
		return err
	}
	r.Header.Set("DPoP", proof)
	return nil
}

// learn keeps what came with an answer for the next request, and reports whether this one is to be made again with it: nothing was
// spent then, so this goes for a code too.
func (c *Client) learn(response *http.Response, refused error) bool {
	if c.vouch != nil {
		return c.vouch.learn(response, refused)
	}
	return c.prover.learn(response, refused)
}

// learn keeps the nonce that came with an answer, and reports whether the request is to be made again with it (RFC 9449 §8).
func (p *prover) learn(response *http.Response, refused error) bool {
	nonce := response.Header.Get("DPoP-Nonce")
	if p == nil || nonce == "" {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.nonce == nonce
	p.nonce = nonce
	var wire *ace.Error
	return !known && errors.As(refused, &wire) && wire.Code == ace.UseDPoPNonce
}
