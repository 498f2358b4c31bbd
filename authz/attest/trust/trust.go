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
//	degraded = false                           # apps on phones whose system was changed too; before the first table
//
//	[apple]                                    # App Attest
//	roots = "apple-app-attestation-root.pem"
//	apps = ["TEAMID.com.example.door"]
//	development = false                        # builds from Xcode too
//
//	[android]                                  # Key Attestation
//	roots = "google-roots.pem"
//	revoked = "status.json"                    # Google's status list; read anew when it changes
//	max_patch_age = "4380h"                    # of the system's security patches; a system with older ones is degraded
//	[[android.app]]
//	package = "com.example.door"
//	digests = ["AB:CD:…"]                      # SHA-256 of the certificates it may be signed with
//
//	[play]                                     # Play Integrity, with keys that the Play Console gives
//	decryption = "play-decryption.key"         # base64 of 32 bytes, of mode 0600
//	verification = "play-verification.key"     # base64 of DER, or PEM
//	max_age = "2m"                             # of a verdict; that is the default
//	testing = false                            # answers that were set up for testers too; they are degraded
//	[[play.app]]
//	package = "com.example.door"
//	digests = ["AB:CD:…"]                      # of Play's signing certificate, if Play signs the app
//
// An attester that only shares a secret has, instead of keys, symmetric = true and secret = "FILE" of mode 0600. Keys are read anew by
// themselves, so an attester rotates them by publishing the next before it signs with it. Start from Load.
package trust

import (
	"bytes"
	"encoding/base64"
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
		Android  *android         `toml:"android"`
		Play     *play            `toml:"play"`
		Degraded bool             `toml:"degraded"`
	}
	meta, err := toml.NewDecoder(bytes.NewReader(text)).Decode(&file)
	if err != nil {
		return nil, fmt.Errorf("attesters: %s: %w", path, err)
	}
	if strange := meta.Undecoded(); len(strange) > 0 {
		return nil, fmt.Errorf("attesters: %s: %s is not known; an attester has issuer, keys or secret, symmetric, kind, says, key and os; see latchkey attester --help", path, strange[0])
	}
	all := &Trusted{Attesters: make(map[string]clientauth.Attester, len(file.Attester))}
	for name, e := range file.Attester {
		if name == authz.AttesterPlatform {
			return nil, fmt.Errorf("attesters: %s: %q is the name of this server itself, where it judges what platforms say", path, name)
		}
		if all.Attesters[name], err = e.attester(name, filepath.Dir(path), o); err != nil {
			return nil, fmt.Errorf("attesters: %s: attester %q: %w", path, name, err)
		}
	}
	if all.Platforms, err = (&platforms{file.Apple, file.Android, file.Play}).verifiers(filepath.Dir(path), o.Now); err != nil {
		return nil, fmt.Errorf("attesters: %s: %w", path, err)
	}
	all.Platforms.Degraded = file.Degraded
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

// shared reads a secret that an attester shares.
func shared(path, name string) (jose.Finder, error) {
	secret, err := hidden(path)
	if err == nil && len(secret) < minSecret {
		err = fmt.Errorf("not base64 of at least %d bytes", minSecret)
	}
	if err != nil {
		return nil, fmt.Errorf("secret: %w", err)
	}
	key, err := jose.NewSecretKey(secret, "")
	if err != nil {
		return nil, fmt.Errorf("secret of %s: %w", name, err)
	}
	return jose.Only(key), nil
}

// hidden reads a secret: base64, in a file for its owner alone. Errors hold nothing of it.
func hidden(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("others can read it: %w; chmod 600 %s", fs.ErrPermission, path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	secret, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, errors.New("not base64")
	}
	return secret, nil
}
