package main

import (
	"context"
	"errors"
	"maps"
	"net/url"
	"os"
	"slices"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/attest"
	"github.com/latchkey-ace/latchkey/authz/attest/trust"
)

// attesters are those who may vouch for app instances. The reference attester counts for nobody but a server whose
// people and apps are all on this machine.
func (c *config) attesters(dir string) (*trust.Trusted, error) {
	if c.Attesters == "" {
		return &trust.Trusted{}, nil
	}
	issuer, err := url.Parse(c.Issuer)
	local := err == nil && loopback(issuer.Hostname())
	return trust.Load(within(dir, c.Attesters), trust.Options{Development: local})
}

// checkAttesters looks at who may vouch for apps, and whether their keys can be had.
func (e *exam) checkAttesters(context.Context) []finding {
	const name = "attesters"
	trusted, err := e.config.attesters(e.dir)
	if err != nil {
		return []finding{bad(name, fail, "correct "+e.config.Attesters+"; latchkey attester --help shows one", "%v", err)}
	}
	if e.config.Attesters == "" {
		return []finding{good(name, "none: nobody vouches for apps")}
	}
	info, err := os.Stat(within(e.dir, e.config.Attesters))
	if err == nil && info.Mode().Perm()&0o022 != 0 {
		return []finding{bad(name, fail, "run chmod 644 "+e.config.Attesters, "others can change %s, and say who vouches for apps (mode %04o)", e.config.Attesters, info.Mode().Perm())}
	}
	for _, attester := range slices.Sorted(maps.Keys(trusted.Attesters)) {
		_, err := trusted.Attesters[attester].Keys("")
		switch {
		case trusted.Attesters[attester].Means.Kind == attest.Development:
			return []finding{bad(name, warn, "take it out of "+e.config.Attesters+" before anything real opens", "%s is for development and proves nothing", attester)}
		case errors.Is(err, authz.ErrUnavailable):
			return []finding{bad(name, warn, "see that this machine reaches it; apps for which it vouches are told to come back", "%v", err)}
		}
	}
	return []finding{good(name, "%d in %s", len(trusted.Attesters), e.config.Attesters)}
}

// warnOfDevelopment says at each start that somebody counts whose word proves nothing.
func (s *service) warnOfDevelopment() {
	for _, name := range slices.Sorted(maps.Keys(s.trusted.Attesters)) {
		if s.trusted.Attesters[name].Means.Kind == attest.Development {
			s.log.Warn("an attester for development vouches for apps: this proves nothing about them", "attester", name)
		}
	}
}
