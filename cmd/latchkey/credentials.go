package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/attest"
	"github.com/latchkey-ace/latchkey/authz/registration"
	"github.com/latchkey-ace/latchkey/cmd/internal/command"
	"github.com/latchkey-ace/latchkey/pop/jose"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// authMethods are those that client add offers.
var authMethods = []authz.AuthMethod{
	authz.AuthNone, authz.AuthSecretBasic, authz.AuthSecretPost, authz.AuthPrivateKey, authz.AuthTLS, authz.AuthSelfSigned, authz.AuthOSCORE,
	authz.AuthDTLS, authz.AuthAttested, authz.AuthAttestedDPoP, authz.AuthIntegrity,
}

func methodNames() string { return listed(authMethods) }

func names(methods []authz.AuthMethod) []string {
	var all []string
	for _, m := range methods {
		all = append(all, string(m))
	}
	return all
}

// listed names at least two methods for people.
func listed(methods []authz.AuthMethod) string {
	all := names(methods)
	last := len(all) - 1
	return strings.Join(all[:last], ", ") + " and " + all[last]
}

// Bounds of a secret that somebody brings along.
const (
	shortestSecret = 43  // letters: 256 random bits in base64url have that many
	longestSecret  = 512 // bytes: what the token endpoint reads
	variedLetters  = 16  // different letters that a random secret of that length has at least
)

// credentialFlags are the flags of client add about how an app proves itself and what its tokens are bound to.
type credentialFlags struct {
	name, jwks, serves, demand string
	secretStdin                bool
}

func (f *credentialFlags) add(fl *pflag.FlagSet, s *authz.ClientSettings) {
	fl.StringVar(&f.name, "name", "", "what people call it")
	fl.BoolVar(&f.secretStdin, "secret-stdin", false, "read its secret from standard input, one line, instead of making one; at least 256 random bits")
	fl.StringVar(&f.jwks, "jwks", "", "file with its public keys as a JWK Set: for private_key_jwt, or with certificates in x5c for self_signed_tls_client_auth")
	fl.StringVar(&s.TLSSubject, "tls-subject", "", "for tls_client_auth: the subject of its certificate, as in CN=meter,O=Home")
	fl.StringVar(&s.TLSSANDNS, "tls-san-dns", "", "for tls_client_auth: a DNS name in its certificate")
	fl.StringVar(&s.TLSSANURI, "tls-san-uri", "", "for tls_client_auth: a URI in its certificate")
	fl.BoolVar(&s.RequirePAR, "require-par", false, "it must push its authorization requests (RFC 9126)")
	fl.BoolVar(&s.DPoPBound, "dpop", false, "its tokens for HTTP APIs must be bound to a DPoP key (RFC 9449)")
	fl.BoolVar(&s.TLSBound, "tls-bound", false, "its tokens for HTTP APIs must be bound to its TLS certificate (RFC 8705)")
	fl.BoolVar(&s.Bearer, "bearer", false, "it may have tokens for HTTP APIs that are bound to nothing: whoever sees one can use it")
	fl.StringArrayVar(&s.Attesters, "attester", nil, "for attest_jwt_client_auth and integrity_token: who may vouch for its instances, by name in the file of attesters; may be given again")
	fl.StringArrayVar(&s.Apps, "app", nil, "what its platform calls it, as attesters say it: a package, or team and bundle id; may be given again (default: whatever they say)")
	fl.StringVar(&f.demand, "demand", "", "what its instances must be for anything, as in key=hardware,os=verified,age=5m,kind=key-attestation")
	fl.StringVar(&f.serves, "serves", "", "the device or API that this client is: it may ask about its tokens")
}

// fill puts the flags into a client's record and checks that it can authenticate.
func (f *credentialFlags) fill(c *authz.Client) (err error) {
	c.Name = f.name
	if f.jwks != "" {
		if c.Keys, err = readKeys(f.jwks); err != nil {
			return err
		}
	}
	if f.demand != "" {
		if c.Settings.Demand, err = attest.ParseDemand(f.demand); err != nil {
			return fmt.Errorf("--demand: %w", err)
		}
	}
	if f.secretStdin && c.AuthMethod != authz.AuthSecretBasic && c.AuthMethod != authz.AuthSecretPost {
		return fmt.Errorf("--secret-stdin goes with %s or %s", authz.AuthSecretBasic, authz.AuthSecretPost)
	}
	if err := registration.Check(c); err != nil {
		return fmt.Errorf("%w; see --grant-type, --redirect-uri, --require-par, --jwks, --tls-subject, --tls-san-dns, --tls-san-uri, --dpop, --tls-bound, --bearer, --attester and --app", err)
	}
	return nil
}

func readKeys(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("--jwks: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, jose.MaxSet+1))
	if err == nil {
		_, err = jose.ParseSet(text)
	}
	if err != nil {
		return "", fmt.Errorf("--jwks %s: %w; give the public keys alone, as {\"keys\":[…]}", path, err)
	}
	return string(text), nil
}

// secret makes a client's secret and returns it to be shown once, or takes the one on standard input, which is shown nowhere.
func (f *credentialFlags) secret(cmd *cobra.Command, c *authz.Client) (shown string, err error) {
	switch {
	case c.AuthMethod != authz.AuthSecretBasic && c.AuthMethod != authz.AuthSecretPost:
		return "", nil
	case !f.secretStdin:
		shown, c.SecretHash, err = authz.Secret(rand.Reader)
		return shown, err
	}
	brought, err := command.ReadLine(cmd.InOrStdin(), longestSecret)
	if err != nil {
		return "", fmt.Errorf("secret: %w", err)
	}
	different := map[rune]bool{}
	for _, letter := range brought {
		different[letter] = true
		if letter <= ' ' || letter > '~' {
			return "", errors.New("secret: only letters, digits and signs of ASCII, without blanks")
		}
	}
	if len(brought) < shortestSecret || len(different) < variedLetters {
		return "", fmt.Errorf("secret: give at least %d random letters, as from: openssl rand -hex 32", shortestSecret)
	}
	c.SecretHash = authz.HashSecret(brought)
	return "", nil
}

// served finds the device that a client is; zero for "".
func (h *house) served(ctx context.Context, name string) (provision.DeviceID, error) {
	if name == "" {
		return provision.DeviceID{}, nil
	}
	d, err := h.store.DeviceByName(ctx, name)
	if errors.Is(err, authz.ErrNotFound) {
		return d.ID, fmt.Errorf("--serves %q: there is no such device; see latchkey device list", name)
	}
	return d.ID, err
}
