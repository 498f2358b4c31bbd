package trust

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/latchkey-ace/latchkey/authz/attest/appattest"
	"github.com/latchkey-ace/latchkey/authz/attest/keyattest"
	"github.com/latchkey-ace/latchkey/authz/attest/platform"
)

// platforms are those whose evidence the server judges, as they are written.
type platforms struct {
	Apple   *apple
	Android *android
	Play    *play
}

// apple is App Attest.
type apple struct {
	Roots       string   `toml:"roots"`
	Apps        []string `toml:"apps"`
	Development bool     `toml:"development"`
}

// android is Key Attestation.
type android struct {
	Roots         string       `toml:"roots"`
	Apps          []androidApp `toml:"app"`
	Revoked       string       `toml:"revoked"`
	MaxPatchAge   span         `toml:"max_patch_age"`
	AllowExpired  bool         `toml:"allow_expired"`
	AllowSoftware bool         `toml:"allow_software"`
}

// androidApp is a package and the SHA-256 of the certificates that it may be signed with, in hex.
type androidApp struct {
	Package string   `toml:"package"`
	Digests []string `toml:"digests"`
}

// digests are those of an app that has a name and some.
func (a androidApp) digests() (all [][]byte, err error) {
	for _, text := range a.Digests {
		digest, err := hex.DecodeString(strings.ReplaceAll(text, ":", ""))
		if err != nil || len(digest) != sha256.Size {
			return nil, fmt.Errorf("app %q: digest %.80q is no SHA-256 in hex", a.Package, text)
		}
		all = append(all, digest)
	}
	if a.Package == "" || len(all) == 0 {
		return nil, errors.New("an app has a package and digests of the certificates it is signed with")
	}
	return all, nil
}

// span is a duration as people write it.
type span time.Duration

// UnmarshalText reads one.
func (s *span) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if err == nil && d < 0 {
		err = errors.New("a time to come")
	}
	*s = span(d)
	return err
}

func (p *platforms) verifiers(folder string, now func() time.Time) (v *platform.Verifiers, err error) {
	v = &platform.Verifiers{}
	if p.Apple != nil {
		if v.Apple, err = p.Apple.verifier(folder); err != nil {
			return nil, fmt.Errorf("apple: %w", err)
		}
	}
	if p.Android != nil {
		if v.Android, err = p.Android.verifier(folder, now); err != nil {
			return nil, fmt.Errorf("android: %w", err)
		}
	}
	if p.Play != nil {
		if v.Play, err = p.Play.verifier(folder); err != nil {
			return nil, fmt.Errorf("play: %w", err)
		}
	}
	return v, nil
}

func (a *apple) verifier(folder string) (*appattest.Verifier, error) {
	if len(a.Apps) == 0 {
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

// verifier gives one whose list of revoked certificates is that of the file now.
func (a *android) verifier(folder string, now func() time.Time) (func() *keyattest.Verifier, error) {
	base := keyattest.Verifier{MaxPatchAge: time.Duration(a.MaxPatchAge), AllowExpired: a.AllowExpired, AllowSoftware: a.AllowSoftware}
	roots, err := certificates(folder, a.Roots)
	if err != nil {
		return nil, fmt.Errorf("roots: %w", err)
	}
	for _, root := range roots {
		base.Roots = append(base.Roots, crypto.PublicKey(root.PublicKey))
	}
	if len(a.Apps) == 0 {
		return nil, errors.New(`say which apps count: [[android.app]] with package and digests`)
	}
	for _, app := range a.Apps {
		digests, err := app.digests()
		if err != nil {
			return nil, err
		}
		base.Apps = append(base.Apps, keyattest.App{Package: app.Package, Digests: digests})
	}
	list := &revoked{base: base, now: now}
	if a.Revoked == "" {
		return nil, errors.New(`say which certificates were revoked: revoked = "FILE", Google's status list`)
	}
	list.path = within(folder, a.Revoked)
	return list.verifier, list.read()
}

// revoked is the list of certificates that count no more, read anew when its file has changed.
type revoked struct {
	path string
	base keyattest.Verifier
	now  func() time.Time

	mu      sync.Mutex
	changed time.Time
	looked  time.Time
	current *keyattest.Verifier
}

func (r *revoked) verifier() *keyattest.Verifier {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.now(); now.Sub(r.looked) >= FreshFile {
		r.looked = now
		_ = r.read() // the last list that could be read stays; doctor tells
	}
	return r.current
}

func (r *revoked) read() error {
	info, err := os.Stat(r.path)
	if err != nil {
		return fmt.Errorf("revoked: %w", err)
	}
	if r.current != nil && info.ModTime().Equal(r.changed) {
		return nil
	}
	text, err := os.ReadFile(r.path)
	if err != nil {
		return fmt.Errorf("revoked: %w", err)
	}
	list, err := keyattest.ParseRevocation(text)
	if err != nil {
		return fmt.Errorf("revoked: %s: %w", r.path, err)
	}
	fresh := r.base
	fresh.Revoked = list
	r.current, r.changed = &fresh, info.ModTime()
	return nil
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
