package backup

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"filippo.io/age"
)

// Recipients are whom a backup is encrypted to: public keys, or one passphrase.
type Recipients struct{ list []age.Recipient }

// ParseRecipients reads public keys as age-keygen prints them (age1…), one a line; empty lines and those that begin with #
// do not count.
func ParseRecipients(r io.Reader) (Recipients, error) {
	list, err := age.ParseRecipients(io.LimitReader(r, maxKeyFile))
	switch {
	case err != nil:
		return Recipients{}, errors.New("it is no list of public keys of age: each line begins with age1")
	case len(list) > maxKeys:
		return Recipients{}, fmt.Errorf("%d keys; %d are the most", len(list), maxKeys)
	}
	return Recipients{list}, nil
}

// ToPassphrase is for who has no key pair. age makes each guess cost about a second.
func ToPassphrase(passphrase string) (Recipients, error) {
	if utf8.RuneCountInString(passphrase) < minPassphrase {
		return Recipients{}, fmt.Errorf("passphrase: use %d characters or more; it is all that guards the backup", minPassphrase)
	}
	r, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return Recipients{}, fmt.Errorf("passphrase: %w", err)
	}
	r.SetWorkFactor(workFactor)
	return Recipients{[]age.Recipient{r}}, nil
}

// Keys open backups.
type Keys struct{ list []age.Identity }

// Format hides the keys from every verb.
func (Keys) Format(f fmt.State, _ rune) { io.WriteString(f, "[redacted]") }

// ParseKeys reads secret keys as age-keygen writes them (AGE-SECRET-KEY-1…).
func ParseKeys(r io.Reader) (Keys, error) {
	list, err := age.ParseIdentities(io.LimitReader(r, maxKeyFile))
	switch {
	case err != nil: // its text may hold part of a key
		return Keys{}, errors.New("it is no file of secret keys of age: a line begins with AGE-SECRET-KEY-1")
	case len(list) > maxKeys:
		return Keys{}, fmt.Errorf("%d keys; %d are the most", len(list), maxKeys)
	}
	return Keys{list}, nil
}

// Passphrase opens what was made with ToPassphrase.
func Passphrase(passphrase string) (Keys, error) {
	i, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return Keys{}, errors.New("passphrase: it is empty")
	}
	i.SetMaxWorkFactor(maxWorkFactor)
	return Keys{[]age.Identity{i}}, nil
}

// GenerateKey makes a key pair: the public half for ParseRecipients, the secret half for ParseKeys.
func GenerateKey() (public, secret string, err error) {
	i, err := age.GenerateX25519Identity()
	if err != nil {
		return "", "", err
	}
	return i.Recipient().String(), i.String(), nil
}

// ParseRecipient reads one public key.
func ParseRecipient(key string) (Recipients, error) { return ParseRecipients(strings.NewReader(key)) }
