// Package trust reads who may vouch for app instances, and keeps their keys, and which platforms' words count.
//
// Attesters are in a TOML file, a table for each:
//
//	[attester.acme]
//	issuer = "https://attest.example"          # iss of what it signs; leave it out for one that names none
//	keys = "https://attest.example/jwks"       # or a file beside this one; JWK Set
//	kind = "service"                           # or development: the reference attester, on loopback only
//	says = true                                # what it says in latchkey_verdict is believed; otherwise its word stands for:
//	key = "hardware"
//	os = "verified"
//
// Platforms whose evidence the server judges itself, to vouch for apps as the attester "platform", have tables of their own:
//
//	[apple]                                    # App Attest
//	roots = "apple-app-attestation-root.pem"
//	apps = ["TEAMID.com.example.door"]
//	development = false                        # builds from Xcode too
//
// An attester that only shares a secret has, instead of keys, symmetric = true and secret = "FILE" of mode 0600. Keys are read anew by
// themselves, so an attester rotates them by publishing the next before it signs with it. Start from Load.
package trust

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/attest"
	"github.com/latchkey-ace/latchkey/authz/attest/appattest"
	"github.com/latchkey-ace/latchkey/authz/attest/platform"
	"github.com/latchkey-ace/latchkey/authz/clientauth"
	"github.com/latchkey-ace/latchkey/pop/jose"
)

// Options of Load; the zero value is the safe default.
type Options struct {
	Now         func() time.Time  // default time.Now
	Transport   http.RoundTripper // default http.DefaultTransport
	Development bool              // the server is one for development, so an attester may be too
}

// entry is one attester as it is written.
type entry struct {
	Issuer    string         `toml:"issuer"`
	Keys      string         `toml:"keys"`
	Secret    string         `toml:"secret"`
	Symmetric bool           `toml:"symmetric"`
	Kind      attest.Kind    `toml:"kind"`
	Says      bool           `toml:"says"`
	Key       attest.Keeping `toml:"key"`
	OS        attest.System  `toml:"os"`
}

// Trusted is what a file says.
type Trusted struct {
	Attesters map[string]clientauth.Attester
	Platforms *platform.Verifiers
}

// apple is App Attest as it is written.
type apple struct {
	Roots       string   `toml:"roots"`
	Apps        []string `toml:"apps"`
	Development bool     `toml:"development"`
}

// Load reads a file of attesters. Keys are read when they are first needed: an attester that is away keeps no server from
// starting. An error says what to change.
func Load(path string, o Options) (*Trusted, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("attesters: %w", err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("attesters: %s has more than %d bytes", path, maxFile)
	}
	var file struct {
		Attester map[string]entry `toml:"attester"`
		Apple    *apple           `toml:"apple"`
	}
	meta, err := toml.NewDecoder(bytes.NewReader(text)).Decode(&file)
	if err != nil {
		return nil, fmt.Errorf("attesters: %s: %w", path, err)
	}
	if strange := meta.Undecoded(); len(strange) > 0 {
		return nil, fmt.Errorf("attesters: %s: %s is not known; an attester has issuer, keys or secret, symmetric, kind, says, key and os; see latchkey attester --help", path, strange[0])
	}
	all := &Trusted{Attesters: make(map[string]clientauth.Attester, len(file.Attester)), Platforms: &platform.Verifiers{}}
	for name, e := range file.Attester {
		if name == authz.AttesterPlatform {
			return nil, fmt.Errorf("attesters: %s: %q is the name of this server itself, where it judges what platforms say", path, name)
		}
		if all.Attesters[name], err = e.attester(name, filepath.Dir(path), o); err != nil {
			return nil, fmt.Errorf("attesters: %s: attester %q: %w", path, name, err)
		}
	}
	if all.Platforms.Apple, err = file.Apple.verifier(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("attesters: %s: apple: %w", path, err)
	}
	return all, nil
}

func (a *apple) verifier(folder string) (*appattest.Verifier, error) {
	switch {
	case a == nil:
		return nil, nil
	case len(a.Apps) == 0:
		return nil, errors.New(`say which apps count: apps = ["TEAMID.bundle.id"]`)
	}
	roots, err := certificates(folder, a.Roots)
	if err != nil {
		return nil, fmt.Errorf("roots: %w", err)
	}
	pool := x509.NewCertPool()
	for _, root := range roots {
		pool.AddCert(root)
	}
	return &appattest.Verifier{Roots: pool, Apps: a.Apps, Development: a.Development}, nil
}

// certificates reads authorities in PEM.
func certificates(folder, name string) (all []*x509.Certificate, err error) {
	if name == "" {
		return nil, errors.New("give the file with the platform's root certificates, in PEM")
	}
	text, err := os.ReadFile(within(folder, name))
	if err != nil {
		return nil, err
	}
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil || block.Type != "CERTIFICATE" || !c.IsCA {
			return nil, errors.New("a block is no certificate of an authority")
		}
		all = append(all, c)
	}
	if len(all) == 0 || len(bytes.TrimSpace(text)) > 0 {
		return nil, errors.New("no certificates in PEM, or something beside them")
	}
	return all, nil
}

// within is a file that is named from beside the file of attesters.
func within(folder, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(folder, name)
}

func (e entry) attester(name, folder string, o Options) (a clientauth.Attester, err error) {
	if e.Kind == attest.None {
		e.Kind = attest.Service
	}
	a = clientauth.Attester{
		Issuer: e.Issuer, Symmetric: e.Symmetric, Says: e.Says, Means: attest.Verdict{Kind: e.Kind, Key: e.Key, System: e.OS},
	}
	switch {
	case e.Kind == attest.Development && !o.Development:
		return a, errors.New("the reference attester proves nothing: it counts only for a server whose issuer is on this machine")
	case e.Symmetric != (e.Secret != "") || e.Symmetric == (e.Keys != ""):
		return a, errors.New("give keys, or symmetric = true and secret")
	case e.Symmetric:
		a.Keys, err = shared(within(folder, e.Secret), name)
		return a, err
	}
	k := &keys{name: name, now: o.Now, fresh: FreshFile}
	switch u, err := url.Parse(e.Keys); {
	case err == nil && (u.Scheme == "https" || u.Scheme == "http" && loopback(u.Hostname())):
		k.fetch, k.fresh = fromURL(e.Keys, o.Transport), FreshURL
	case strings.Contains(e.Keys, "://"):
		return a, fmt.Errorf("keys = %q: an https address, or a file", e.Keys)
	default:
		e.Keys = within(folder, e.Keys)
		k.fetch = fromFile(e.Keys)
		if _, err := os.Stat(e.Keys); err != nil {
			return a, fmt.Errorf("keys: %w", err)
		}
	}
	a.Keys = k.Find
	return a, nil
}

func loopback(host string) bool { return host == "localhost" || host == "127.0.0.1" || host == "::1" }

// shared reads a secret that an attester shares: base64, in a file for its owner alone.
func shared(path, name string) (jose.Finder, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("secret: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("secret: others can read it: %w; chmod 600 %s", fs.ErrPermission, path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("secret: %w", err)
	}
	secret, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(secret) < minSecret {
		return nil, fmt.Errorf("secret: not base64 of at least %d bytes", minSecret)
	}
	key, err := jose.NewSecretKey(secret, "")
	if err != nil {
		return nil, fmt.Errorf("secret of %s: %w", name, err)
	}
	return jose.Only(key), nil
}
