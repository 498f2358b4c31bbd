package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/latchkey-ace/latchkey/pop/jose"
	"github.com/latchkey-ace/latchkey/resource"
	"github.com/latchkey-ace/latchkey/resource/integrity"
	"github.com/spf13/pflag"
)

// genuine are the flags about apps that have to show that they are genuine.
type genuine struct {
	keys, issuer string
	clients      []string
	actions      []string
}

func (g *genuine) add(f *pflag.FlagSet) {
	f.StringArrayVar(&g.actions, "vouched", nil, "an action for which an app has to show each time that it is genuine; may be given again")
	f.StringVar(&g.keys, "attester-keys", "", "with --vouched: file with the attester's public keys, as a JWK Set")
	f.StringVar(&g.issuer, "attester", "", "with --vouched: how the attester names itself (iss)")
	f.StringArrayVar(&g.clients, "app", nil, "with --vouched: the client id of an app that counts; may be given again (default: any for which the attester vouches)")
}

// demand puts them into the lock's rules.
func (g *genuine) demand(rules *resource.Options, audience string) error {
	if len(g.actions) == 0 {
		if g.keys != "" || g.issuer != "" || g.clients != nil {
			return errors.New("--attester-keys, --attester and --app go with --vouched")
		}
		return nil
	}
	if g.keys == "" {
		return errors.New("--vouched: say whose word counts: --attester-keys FILE")
	}
	text, err := os.ReadFile(g.keys)
	if err != nil {
		return fmt.Errorf("--attester-keys: %w", err)
	}
	set, err := jose.ParseSet(text)
	if err != nil {
		return fmt.Errorf("--attester-keys %s: not a JWK Set of public keys: %w", g.keys, err)
	}
	v, err := integrity.New(integrity.Options{Keys: set, Issuer: g.issuer, Clients: g.clients, Audience: audience})
	if err != nil {
		return fmt.Errorf("--attester-keys %s: %w", g.keys, err)
	}
	rules.Apps, rules.Vouched = v, g.actions
	return nil
}
