package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/latchkey-ace/latchkey/pop/client"
	"github.com/latchkey-ace/latchkey/storage/device"
)

// memory is one session's file: the login that waits to be redeemed, and the token session.
type memory struct {
	Issuer   string              `json:"issuer"`
	Client   string              `json:"client"`
	Audience string              `json:"audience"`
	Scope    string              `json:"scope"`
	Key      []byte              `json:"dpop_key,omitempty"` // PKCS #8; see newKey
	Attester string              `json:"attester,omitempty"` // who vouches for this app; "" for nobody
	App      string              `json:"app,omitempty"`      // what the attester calls it
	Code     *client.Code        `json:"code,omitempty"`
	Device   *client.DeviceLogin `json:"device_login,omitempty"` // answered on another screen
	Session  *client.Saved       `json:"session,omitempty"`
}

var sessionName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

func (p *phone) path() (string, error) {
	if !sessionName.MatchString(p.session) || p.session[0] == '.' {
		return "", fmt.Errorf("session %q: use letters, digits, - and _", p.session)
	}
	if p.state == "" {
		return "", errors.New("say where sessions are kept: --state DIR")
	}
	return filepath.Join(p.state, p.session+".json"), nil
}

func (p *phone) load() (memory, error) {
	path, err := p.path()
	if err != nil {
		return memory{}, err
	}
	data, err := device.ReadSecretFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return memory{}, fmt.Errorf("no session %q: run phone login first", p.session)
	}
	if err != nil {
		return memory{}, err
	}
	var m memory
	if err := json.Unmarshal(data, &m); err != nil {
		return memory{}, fmt.Errorf("%s is damaged: delete it and log in again", path)
	}
	return m, nil
}

// store replaces the file atomically and durably: a sequence number must be on disk before it is used.
func (p *phone) store(m memory) error {
	path, err := p.path()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(p.state, 0o700); err != nil {
		return err
	}
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return device.WriteFile(path, data)
}
