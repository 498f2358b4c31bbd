package clientauth

import (
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/jose"
)

// Check says why a client, registered like this, could never authenticate, or could be bound to nothing that it has; nil if it
// can. It is for those who register clients.
func Check(c *authz.Client) error {
	judge := map[authz.AuthMethod]func(*authz.Client) error{
		authz.AuthPrivateKey: checkKeys, authz.AuthTLS: checkNames, authz.AuthSelfSigned: checkCertificates,
	}[c.AuthMethod]
	switch {
	case c.Attested() != (len(c.Settings.Attesters) > 0):
		return fmt.Errorf("%s and %s need somebody who vouches for the app, and nothing else does", authz.AuthAttested, authz.AuthIntegrity)
	case !c.Attested() && len(c.Settings.Apps) > 0:
		return errors.New("an app's name at its platform goes with somebody who vouches for the app")
	case c.AuthMethod != authz.AuthTLS && names(&c.Settings) > 0:
		return fmt.Errorf("a certificate's name goes with %s", authz.AuthTLS)
	case judge == nil && c.Keys != "":
		return fmt.Errorf("a key set goes with %s or %s", authz.AuthPrivateKey, authz.AuthSelfSigned)
	case c.Settings.DPoPBound && c.Settings.TLSBound:
		return errors.New("a token is bound to one thing: to a DPoP key or to a certificate")
	case c.Settings.Bearer && (c.Settings.DPoPBound || c.Settings.TLSBound):
		return errors.New("a client whose tokens must be bound cannot have bearer tokens")
	case judge == nil:
		return nil
	}
	return judge(c)
}

func checkKeys(c *authz.Client) error {
	keys, err := jose.ParseSet([]byte(c.Keys))
	switch {
	case c.Keys != "" && err != nil:
		return err
	case err != nil, len(keys.Keys()) == 0:
		return fmt.Errorf("%s needs a JWK Set with a public key on P-256 or P-384 or of Ed25519", c.AuthMethod)
	}
	for _, k := range keys.Keys() {
		if k.ID() == "" && len(keys.Keys()) > 1 {
			return errors.New("key set: each of several keys needs a kid")
		}
	}
	return nil
}

func checkNames(c *authz.Client) error {
	if names(&c.Settings) != 1 {
		return fmt.Errorf("%s needs exactly one name: the subject, a DNS name or a URI of the certificate", c.AuthMethod)
	}
	return nil
}

func checkCertificates(c *authz.Client) error {
	certs, err := certificates(c.Keys)
	if err != nil {
		return err
	}
	for _, der := range certs {
		if _, err := x509.ParseCertificate(der); err != nil {
			return errors.New("key set: x5c holds no certificate in DER")
		}
	}
	if len(certs) == 0 {
		return fmt.Errorf("%s needs a JWK Set with the certificate in x5c", c.AuthMethod)
	}
	return nil
}
