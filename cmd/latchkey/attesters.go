package main

import (
	"maps"
	"net/url"
	"path/filepath"
	"slices"

	"github.com/latchkey-ace/latchkey/authz/attest"
	"github.com/latchkey-ace/latchkey/authz/attest/trust"
	"github.com/latchkey-ace/latchkey/authz/clientauth"
)

// attesters are those who may vouch for app instances; nil without. The reference attester counts for nobody but a server whose
// people and apps are all on this machine.
func (c *config) attesters(dir string) (map[string]clientauth.Attester, error) {
	if c.Attesters == "" {
		return nil, nil
	}
	path := c.Attesters
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	issuer, err := url.Parse(c.Issuer)
	local := err == nil && (issuer.Hostname() == "localhost" || loopback(issuer.Hostname()))
	return trust.Load(path, trust.Options{Development: local})
}

// warnOfDevelopment says at each start that somebody counts whose word proves nothing.
func (s *service) warnOfDevelopment() {
	for _, name := range slices.Sorted(maps.Keys(s.attesters)) {
		if s.attesters[name].Means.Kind == attest.Development {
			s.log.Warn("an attester for development vouches for apps: this proves nothing about them", "attester", name)
		}
	}
}
