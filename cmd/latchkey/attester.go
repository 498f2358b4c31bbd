package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"strings"

	"github.com/latchkey-ace/latchkey/authz/attest"
	"github.com/latchkey-ace/latchkey/authz/attest/reference"
	"github.com/latchkey-ace/latchkey/authz/httpapi"
	"github.com/latchkey-ace/latchkey/cmd/internal/command"
	"github.com/latchkey-ace/latchkey/pop/jose"
	"github.com/latchkey-ace/latchkey/storage/device"
	"github.com/spf13/cobra"
)

// attesterFlags are the flags of attester.
type attesterFlags struct {
	listen, key, keeping, system string
	apps                         []string
}

func (t *tool) attesterCommand() *cobra.Command {
	var f attesterFlags
	c := &cobra.Command{
		Use:   "attester",
		Short: "Runs an attestation service for development: NOT FOR PRODUCTION",
		Long: "Runs an attestation service for development and tests. It proves nothing: an app that keeps a copy of the genuine one can\n" +
			"answer for it. It is served on loopback only, and counts only for a server whose issuer is on this machine. It finds an app\n" +
			"that was changed (its file differs), was signed again (FILE.sig differs), or plays an old answer again.\n\n" +
			"The server is told of it in its file of attesters (attesters in latchkey.toml):\n\n" +
			"  [attester.dev]\n  issuer = \"http://127.0.0.1:9400\"\n  keys = \"http://127.0.0.1:9400/jwks\"\n  kind = \"development\"\n  says = true",
		Example: "  latchkey attester --listen 127.0.0.1:9400 --key attester.pem --app com.example.door=phone:bin/phone",
		Args:    command.None,
		RunE:    func(cmd *cobra.Command, _ []string) error { return t.attester(cmd, f) },
	}
	fl := c.Flags()
	fl.StringVar(&f.listen, "listen", "127.0.0.1:9400", "where to serve HTTP, on loopback")
	fl.StringVar(&f.key, "key", "", "file with its signing key, in PEM; made if it is not there")
	fl.StringArrayVar(&f.apps, "app", nil, "NAME=CLIENT:FILE: an app as it was published, and its client id; may be given again")
	fl.StringVar(&f.keeping, "says-key", "software", "where it says that instances keep their keys: software, hardware or strongbox")
	fl.StringVar(&f.system, "says-os", "unknown", "what it says of their systems: unknown, degraded or verified")
	return c
}

func (t *tool) attester(cmd *cobra.Command, f attesterFlags) error {
	apps, err := f.published()
	if err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(f.listen)
	if err != nil || !loopback(host) {
		return fmt.Errorf("--listen %q: it proves nothing, so it is for this machine only: 127.0.0.1:PORT", f.listen)
	}
	key, err := attesterKey(f.key)
	if err != nil {
		return fmt.Errorf("--key: %w", err)
	}
	door, err := net.Listen("tcp", f.listen)
	if err != nil {
		return err
	}
	issuer := "http://" + door.Addr().String()
	log := newLogger(cmd.ErrOrStderr(), "info", "text")
	server := httpapi.Serve(reference.New(reference.Options{Issuer: issuer, Key: jose.Signer{Key: key, ID: "1"}, Apps: apps, Log: log}))
	context.AfterFunc(cmd.Context(), func() { _ = server.Close() }) // Serve says what went wrong
	if err := t.say(cmd.OutOrStdout(), map[string]string{"issuer": issuer, "keys": issuer + "/jwks"},
		"an attestation service for development, NOT FOR PRODUCTION, at %s", issuer); err != nil {
		return err
	}
	if err := server.Serve(door); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (f *attesterFlags) published() (map[string]reference.App, error) {
	var means attest.Verdict
	if err := means.Key.UnmarshalText([]byte(f.keeping)); err != nil {
		return nil, fmt.Errorf("--says-key: %w", err)
	}
	if err := means.System.UnmarshalText([]byte(f.system)); err != nil {
		return nil, fmt.Errorf("--says-os: %w", err)
	}
	apps := map[string]reference.App{}
	for _, text := range f.apps {
		name, rest, ok1 := strings.Cut(text, "=")
		client, path, ok2 := strings.Cut(rest, ":")
		if _, twice := apps[name]; !ok1 || !ok2 || name == "" || twice {
			return nil, fmt.Errorf("--app %q: NAME=CLIENT:FILE, each name once", text)
		}
		content, signature, err := reference.Measure(path)
		if err != nil {
			return nil, fmt.Errorf("--app %s: %w", name, err)
		}
		apps[name] = reference.App{Client: client, Content: content, Signature: signature, Means: means}
	}
	if len(apps) == 0 {
		return nil, errors.New("say for which apps: --app NAME=CLIENT:FILE")
	}
	return apps, nil
}

// attesterKey reads the key, or makes one.
func attesterKey(path string) (*ecdsa.PrivateKey, error) {
	if path == "" {
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	text, err := device.ReadSecretFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return newAttesterKey(path)
	}
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(text)
	if block == nil || len(rest) > 0 || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("%s holds no private key in PEM", path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("%s holds no EC key", path)
	}
	return key, nil
}

func newAttesterKey(path string) (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, device.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}
