package reference

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

	"github.com/latchkey-ace/latchkey/pop/attestation"
	"github.com/latchkey-ace/latchkey/pop/jose"
)

// SignatureSuffix is where the maker's signature of an app lies: beside its file.
const SignatureSuffix = ".sig"

// maxAnswer bounds an attester's answer, in bytes.
const maxAnswer = 64 << 10

// Instance is the app's side: one installation, with its key.
type Instance struct {
	Attester string // address
	App      string
	Program  string // the file that is measured
	Key      crypto.Signer
	HTTP     *http.Client
}

// Attest gets an attestation of the instance.
func (i *Instance) Attest(ctx context.Context) (string, error) {
	var out struct {
		Token string `json:"attestation"`
	}
	s, err := i.state(ctx)
	if err == nil {
		err = i.post(ctx, "/attest", s, &out)
	}
	return out.Token, nothing(out.Token, err)
}

// Integrity gets an integrity token; Payload, Answers and Audience of want say what it is bound to.
func (i *Instance) Integrity(ctx context.Context, want Statement) (string, error) {
	var out struct {
		Token string `json:"integrity_token"`
	}
	s, err := i.state(ctx)
	if err == nil {
		s.Form, s.Payload, s.Answers, s.Audience = FormIntegrity, want.Payload, want.Answers, want.Audience
		err = i.post(ctx, "/attest", s, &out)
	}
	return out.Token, nothing(out.Token, err)
}

func nothing(token string, err error) error {
	if err == nil && token == "" {
		err = errors.New("the attester's answer holds no token")
	}
	return err
}

// state is what this instance says of itself, in answer to a challenge.
func (i *Instance) state(ctx context.Context) (s Statement, err error) {
	var asked struct {
		Challenge string `json:"challenge"`
		Offset    int    `json:"offset"`
	}
	if err := i.post(ctx, "/challenge", map[string]string{"app": i.App}, &asked); err != nil {
		return s, err
	}
	content, signature, err := Measure(i.Program)
	if err != nil {
		return s, err
	}
	public, err := jose.NewKey(i.Key.Public(), "")
	if err != nil {
		return s, err
	}
	s = Statement{
		App: i.App, Challenge: asked.Challenge, Content: Digest(asked.Challenge, content, asked.Offset), Signature: Digest(asked.Challenge, signature, 0),
	}
	if s.Key, err = public.JWK(); err != nil {
		return s, err
	}
	s.Proof, err = attestation.Prove(attestation.ProofFor{Audience: i.Attester, Challenge: asked.Challenge}, i.Key, time.Now(), rand.Reader)
	return s, err
}

// Measure reads a program and its maker's signature, which may be missing.
func Measure(program string) (content, signature []byte, err error) {
	if content, err = os.ReadFile(program); err != nil {
		return nil, nil, err
	}
	if signature, err = os.ReadFile(program + SignatureSuffix); errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return content, signature, err
}

// post asks the attester; its refusal is an error.
func (i *Instance) post(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, i.Attester+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := i.HTTP.Do(request)
	if err != nil {
		return fmt.Errorf("the attester cannot be reached, try again: %w", err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
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
