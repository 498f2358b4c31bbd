package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
)

// errKey is what is said of a session's file whose key cannot be read.
var errKey = errors.New("the app's key in the session's file is damaged: log in again")

// newKey is what this installation of the app proves itself with (RFC 9449): one for each session, so that two sessions cannot be
// told to be of one person. A real phone keeps it in its secure hardware.
func newKey() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return x509.MarshalPKCS8PrivateKey(key)
}

// prover is nil for an app that asks for itself, with its own secret.
func (m *memory) prover() (crypto.Signer, error) {
	if m.Key == nil {
		return nil, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(m.Key)
	if err != nil {
		return nil, errKey
	}
	signer, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errKey
	}
	return signer, nil
}
