package main

import (
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
