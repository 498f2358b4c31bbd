package main

import (
	"context"
	"crypto"
	"os"

	"github.com/latchkey-ace/latchkey/authz/attest/reference"
	"github.com/latchkey-ace/latchkey/pop/client"
)

// instance is this very program, as an attester looks at it.
func (m *memory) instance(key crypto.Signer) (*reference.Instance, error) {
	program, err := os.Executable()
	return &reference.Instance{Attester: m.Attester, App: m.App, Program: program, Key: key, HTTP: client.NewHTTP()}, err
}

// voucher gets an integrity token for a device's challenge.
func (m *memory) voucher(key crypto.Signer) func(context.Context, string) (string, error) {
	return func(ctx context.Context, challenge string) (string, error) {
		i, err := m.instance(key)
		if err != nil {
			return "", err
		}
		return i.Integrity(ctx, reference.Statement{Answers: challenge})
	}
}
