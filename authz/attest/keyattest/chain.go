package keyattest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"
	"time"
)

var (
	oidAttestation      = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 1, 17}
	oidKeyUsage         = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
)

// signatures are the algorithms that are accepted in a chain; SHA-1 and MD5 are not among them.
var signatures = []x509.SignatureAlgorithm{
	x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
	x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512,
}

func parseChain(chain [][]byte) ([]*x509.Certificate, error) {
	size := 0
	for _, der := range chain {
		size += len(der)
	}
	if len(chain) == 0 || len(chain) > maxCertificates || size > maxChainBytes {
		return nil, fmt.Errorf("a chain has 1 to %d certificates and at most %d bytes: %w", maxCertificates, maxChainBytes, ErrMalformed)
	}
	certs := make([]*x509.Certificate, len(chain))
	for i, der := range chain {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", i, ErrMalformed)
		}
		certs[i] = cert
	}
	return certs, nil
}

// findExtension returns the attestation of the leaf, if it is the only one in the chain.
func findExtension(certs []*x509.Certificate) ([]byte, error) {
	var found []byte
	for i, cert := range certs {
		for _, ext := range cert.Extensions {
			switch {
			case !ext.Id.Equal(oidAttestation):
			case i > 0:
				return nil, fmt.Errorf("certificate %d: %w", i, ErrAttestKey)
			case found != nil:
				return nil, fmt.Errorf("leaf with two attestations: %w", ErrMalformed)
			default:
				found = ext.Value
			}
		}
	}
	if found == nil {
		return nil, ErrNotAttested
	}
	return found, nil
}

// checkChain goes down from the root, so that no key signs anything here before it is known to be the root's own.
func (v *Verifier) checkChain(certs []*x509.Certificate, now time.Time) error {
	last := len(certs) - 1
	root, sent, err := v.anchor(certs[last])
	if err != nil {
		return err
	}
	if sent && last == 0 {
		return fmt.Errorf("a root alone: %w", ErrChain)
	}
	signer := root
	for i := last; i >= 0; i-- {
		cert := certs[i]
		if i < last && !bytes.Equal(cert.RawIssuer, certs[i+1].RawSubject) {
			return fmt.Errorf("certificate %d has another issuer: %w", i, ErrChain)
		}
		if err := checkSigned(cert, signer); err != nil {
			return fmt.Errorf("certificate %d: %w", i, err)
		}
		if i < last && same(signer, cert.PublicKey) {
			return fmt.Errorf("certificate %d signs itself: %w", i, ErrChain)
		}
		if err := checkRole(cert, i); err != nil {
			return fmt.Errorf("certificate %d: %w", i, err)
		}
		if err := v.checkDates(cert, i > 0 && !(sent && i == last), now); err != nil {
			return fmt.Errorf("certificate %d: %w", i, err)
		}
		if v.Revoked.has(cert.SerialNumber) {
			return fmt.Errorf("certificate %d: %w", i, ErrRevoked)
		}
		signer = cert.PublicKey
	}
	return nil
}

// anchor finds the root that a chain's last certificate holds (sent) or was signed with.
func (v *Verifier) anchor(last *x509.Certificate) (root crypto.PublicKey, sent bool, err error) {
	for _, key := range v.Roots {
		if same(key, last.PublicKey) {
			return key, true, nil
		}
	}
	for _, key := range v.Roots {
		if checkSigned(last, key) == nil {
			return key, false, nil
		}
	}
	return nil, false, ErrRoot
}

func same(a, b crypto.PublicKey) bool {
	key, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(b)
}

// checkSigned checks one signature, by algorithms and keys that are accepted.
func checkSigned(cert *x509.Certificate, signer crypto.PublicKey) error {
	if !slices.Contains(signatures, cert.SignatureAlgorithm) || !acceptedKey(signer) {
		return ErrAlgorithm
	}
	// The signature is taken over the bytes that came, not over what was parsed of them.
	parent := x509.Certificate{PublicKey: signer}
	if err := parent.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature); err != nil {
		return fmt.Errorf("signature: %w", ErrChain)
	}
	return nil
}

// acceptedKey bounds what a signature costs, too: keys come from outside.
func acceptedKey(key crypto.PublicKey) bool {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return key.N.BitLen() >= minRSABits && key.N.BitLen() <= maxRSABits && key.E == 65537
	case *ecdsa.PublicKey:
		return key.Curve == elliptic.P256() || key.Curve == elliptic.P384()
	}
	return false
}

// checkRole lets only certificate authorities sign (RFC 5280 §4.2.1.3 and §4.2.1.9), and the leaf not be one. below is how many
// certificates stand below this one.
func checkRole(cert *x509.Certificate, below int) error {
	for _, ext := range cert.Extensions {
		if ext.Critical && !ext.Id.Equal(oidKeyUsage) && !ext.Id.Equal(oidBasicConstraints) {
			return fmt.Errorf("unknown critical extension: %w", ErrChain)
		}
	}
	signs := cert.KeyUsage&x509.KeyUsageCertSign != 0
	if below == 0 {
		if cert.IsCA || signs {
			return fmt.Errorf("leaf is a certificate authority: %w", ErrChain)
		}
		return nil
	}
	if !cert.BasicConstraintsValid || !cert.IsCA || cert.KeyUsage != 0 && !signs {
		return fmt.Errorf("not a certificate authority: %w", ErrChain)
	}
	// Without a limit MaxPathLen is -1. The leaf does not count.
	if limited := cert.MaxPathLen > 0 || cert.MaxPathLenZero; limited && below-1 > cert.MaxPathLen {
		return fmt.Errorf("path is too long: %w", ErrChain)
	}
	return nil
}

func (v *Verifier) checkDates(cert *x509.Certificate, judged bool, now time.Time) error {
	if !judged {
		return nil
	}
	if now.Before(cert.NotBefore) || now.After(cert.NotAfter) && !v.AllowExpired {
		return ErrValidity
	}
	return nil
}
