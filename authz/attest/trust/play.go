package trust

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/latchkey-ace/latchkey/authz/attest/playintegrity"
)

// play is Play Integrity. Its keys are read when the server starts.
type play struct {
	Decryption   string       `toml:"decryption"`
	Verification string       `toml:"verification"`
	Apps         []androidApp `toml:"app"`
	MaxAge       span         `toml:"max_age"`
	Testing      bool         `toml:"testing"`
}

func (p *play) verifier(folder string) (v *playintegrity.Verifier, err error) {
	v = &playintegrity.Verifier{MaxAge: time.Duration(p.MaxAge), Testing: p.Testing}
	switch {
	case p.Decryption == "" || p.Verification == "":
		return nil, errors.New("give the files with the two keys for classic requests that the Play Console lets you download: decryption and verification")
	case len(p.Apps) == 0:
		return nil, errors.New(`say which apps count: [[play.app]] with package and digests`)
	case v.MaxAge > maxPlay:
		return nil, fmt.Errorf("max_age = %q: at most %v, as long as a challenge is good", v.MaxAge, maxPlay)
	}
	if v.Decryption, err = hidden(within(folder, p.Decryption)); err == nil && len(v.Decryption) != playKey {
		err = fmt.Errorf("not base64 of %d bytes, as the Play Console gives it", playKey)
	}
	if err != nil {
		return nil, fmt.Errorf("decryption: %w", err)
	}
	if v.Verification, err = publicKey(within(folder, p.Verification)); err != nil {
		return nil, fmt.Errorf("verification: %w", err)
	}
	for _, app := range p.Apps {
		digests, err := app.digests()
		if err != nil {
			return nil, err
		}
		v.Apps = append(v.Apps, playintegrity.App{Package: app.Package, Digests: digests})
	}
	return v, nil
}

// publicKey reads a SubjectPublicKeyInfo on P-256: base64 of its DER, as the Play Console gives it, or PEM.
func publicKey(path string) (*ecdsa.PublicKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	wrong := errors.New("not the public key of Google Play: base64 of DER, or PEM, of a key on P-256")
	var der []byte
	if block, rest := pem.Decode(text); block == nil {
		der, err = base64.StdEncoding.DecodeString(string(bytes.TrimSpace(text)))
	} else if der = block.Bytes; block.Type != "PUBLIC KEY" || len(bytes.TrimSpace(rest)) > 0 {
		err = wrong
	}
	if err != nil {
		return nil, wrong
	}
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, wrong
	}
	if public, ok := key.(*ecdsa.PublicKey); ok && public.Curve == elliptic.P256() {
		return public, nil
	}
	return nil, wrong
}
