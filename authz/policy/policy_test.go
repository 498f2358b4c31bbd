package policy_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz/policy"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
)

var (
	view      = aif.Entry{Path: "/door", Methods: aif.GET}
	unlock    = aif.Entry{Path: "/door/unlock", Methods: aif.POST}
	disarm    = aif.Entry{Path: "/alarm/disarm", Methods: aif.POST}
	configure = aif.Entry{Path: "/config", Methods: aif.GET | aif.PUT}

	everything = aif.New(view, unlock, disarm, configure)
	reserved   = aif.New(configure)

	now = time.Date(2026, 11, 22, 19, 0, 0, 0, time.UTC)
)

func id(n byte) pop.GrantID { return pop.GrantID{7: n} }

// guest asks for asked with these grants.
func guest(asked aif.Rights, grants ...policy.Grant) policy.Request {
	return policy.Request{Now: now, Available: everything, Reserved: reserved, Asked: asked, Grants: grants}
}

func owner(asked aif.Rights, grants ...policy.Grant) policy.Request {
	r := guest(asked, grants...)
	r.Owner = true
	return r
}

func below(r policy.Request, ceiling ...aif.Entry) policy.Request {
	r.Ceiling, r.HasCeiling = aif.New(ceiling...), true
	return r
}

// to is a grant of entries that is live now and for good.
func to(n byte, entries ...aif.Entry) policy.Grant {
	return policy.Grant{ID: id(n), Rights: aif.New(entries...)}
}

func once(n byte, spent aif.Rights, entries ...aif.Entry) policy.Grant {
	g := to(n, entries...)
	g.Once, g.Spent = true, spent
	return g
}

func between(n byte, from, until time.Time, entries ...aif.Entry) policy.Grant {
	g := to(n, entries...)
	g.From, g.Until = from, until
	return g
}

func revoked(n byte, entries ...aif.Entry) policy.Grant {
	g := to(n, entries...)
	g.Revoked = true
	return g
}

// reasons are all there are.
var reasons = []policy.Reason{
	policy.ReasonUnknownRight, policy.ReasonCeiling, policy.ReasonNoGrant, policy.ReasonMore, policy.ReasonNotYet,
	policy.ReasonEnded, policy.ReasonRevoked, policy.ReasonUsed, policy.ReasonReserved,
}

func TestDecideGrants(t *testing.T) {
	soon, later := now.Add(time.Hour), now.Add(2*time.Hour)
	tests := []struct {
		name string
		in   policy.Request
		want policy.Decision
	}{
		{"a guest gets what was granted", guest(aif.New(unlock), to(1, unlock)), policy.Decision{Grant: id(1), Rights: aif.New(unlock)}},
		{"a guest may ask for a part", guest(aif.New(view), to(1, view, unlock)), policy.Decision{Grant: id(1), Rights: aif.New(view)}},
		{"who asks for nothing gets all of the grant", guest(nil, to(1, view, unlock)), policy.Decision{Grant: id(1), Rights: aif.New(view, unlock)}},
		{"what the device cannot do any more is left out", guest(nil, to(1, view, aif.Entry{Path: "/gone", Methods: aif.GET})), policy.Decision{Grant: id(1), Rights: aif.New(view)}},
		{"a guest can be granted what even the owner lacks", guest(aif.New(configure), to(1, configure)), policy.Decision{Grant: id(1), Rights: aif.New(configure)}},
		{"the order of asking does not matter", guest(aif.Rights{unlock, view}, to(1, view, unlock)), policy.Decision{Grant: id(1), Rights: aif.New(view, unlock)}},

		{"an owner has the device's actions", owner(aif.New(unlock)), policy.Decision{Rights: aif.New(unlock)}},
		{"an owner has all but the reserved", owner(nil), policy.Decision{Rights: aif.New(view, unlock, disarm)}},
		{"an owner's own rights come before a grant", owner(aif.New(unlock), to(1, unlock)), policy.Decision{Rights: aif.New(unlock)}},
		{"an owner uses a grant for what is reserved", owner(aif.New(configure), between(1, now, soon, configure)), policy.Decision{Grant: id(1), Rights: aif.New(configure), Until: soon}},
		{"an owner of a device with reserved actions only uses the grant", policy.Request{Now: now, Owner: true, Available: reserved, Reserved: reserved, Grants: []policy.Grant{to(1, configure)}}, policy.Decision{Grant: id(1), Rights: reserved}},

		{"the ceiling cuts what is not asked for", below(guest(nil, to(1, view, unlock)), view), policy.Decision{Grant: id(1), Rights: aif.New(view)}},
		{"the ceiling cuts methods", below(guest(nil, to(1, configure)), aif.Entry{Path: "/config", Methods: aif.GET}), policy.Decision{Grant: id(1), Rights: aif.New(aif.Entry{Path: "/config", Methods: aif.GET})}},
		{"the ceiling cuts the owner's rights", below(owner(nil), view, configure), policy.Decision{Rights: aif.New(view)}},
		{"a ceiling above everything changes nothing", below(guest(aif.New(unlock), to(1, unlock)), view, unlock), policy.Decision{Grant: id(1), Rights: aif.New(unlock)}},

		{"once marks what moves something", guest(nil, once(1, nil, view, unlock, disarm)), policy.Decision{Grant: id(1), Rights: aif.New(view, unlock, disarm), Once: []uint{0, 2}}},
		{"once leaves looking alone", guest(aif.New(view), once(1, nil, view, unlock)), policy.Decision{Grant: id(1), Rights: aif.New(view)}},
		{"once counts in the order of the rights", guest(aif.Rights{unlock, disarm}, once(1, nil, view, unlock, disarm)), policy.Decision{Grant: id(1), Rights: aif.New(unlock, disarm), Once: []uint{0, 1}}},
		{"what is spent is left out", guest(nil, once(1, aif.New(unlock), view, unlock)), policy.Decision{Grant: id(1), Rights: aif.New(view)}},
		{"a spent action does not hinder another", guest(aif.New(disarm), once(1, aif.New(unlock), unlock, disarm)), policy.Decision{Grant: id(1), Rights: aif.New(disarm), Once: []uint{0}}},

		{"of two grants the one that lasts longer", guest(aif.New(unlock), between(1, now, soon, unlock), between(2, now, later, unlock)), policy.Decision{Grant: id(2), Rights: aif.New(unlock), Until: later}},
		{"in any order", guest(aif.New(unlock), between(2, now, later, unlock), between(1, now, soon, unlock)), policy.Decision{Grant: id(2), Rights: aif.New(unlock), Until: later}},
		{"without an end lasts longest", guest(aif.New(unlock), between(1, now, later, unlock), to(2, unlock), between(3, now, soon, unlock)), policy.Decision{Grant: id(2), Rights: aif.New(unlock)}},
		{"of equal ones the first", guest(aif.New(unlock), between(1, now, soon, unlock), between(2, now, soon, unlock)), policy.Decision{Grant: id(1), Rights: aif.New(unlock), Until: soon}},
		{"a longer one that does not do is passed over", guest(aif.New(unlock), between(1, now, later, view), between(2, now, soon, unlock)), policy.Decision{Grant: id(2), Rights: aif.New(unlock), Until: soon}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := policy.Decide(tt.in)
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
}

func TestDecideRefuses(t *testing.T) {
	hour := time.Hour
	tests := []struct {
		name string
		in   policy.Request
		want policy.Reason
	}{
		{"a path the device does not have", guest(aif.New(aif.Entry{Path: "/safe", Methods: aif.GET}), to(1, unlock)), policy.ReasonUnknownRight},
		{"a method the device does not have", guest(aif.New(aif.Entry{Path: "/door", Methods: aif.GET | aif.PUT}), to(1, view)), policy.ReasonUnknownRight},
		{"an entry without a method is not everything", guest(aif.Rights{{Path: "/door"}}, to(1, unlock)), policy.ReasonUnknownRight},
		{"an owner's entry without a method", owner(aif.Rights{{Path: "/door"}}), policy.ReasonUnknownRight},

		{"above the ceiling", below(guest(aif.New(unlock), to(1, unlock)), view), policy.ReasonCeiling},
		{"an owner above the ceiling", below(owner(aif.New(unlock)), view), policy.ReasonCeiling},
		{"partly above the ceiling", below(guest(aif.New(unlock, view), to(1, unlock, view)), view), policy.ReasonCeiling},
		{"an empty ceiling", below(guest(aif.New(view), to(1, view))), policy.ReasonCeiling},
		{"nothing of the grant is below the ceiling", below(guest(nil, to(1, unlock)), view), policy.ReasonCeiling},
		{"nothing of the owner's is below the ceiling", below(owner(nil), configure), policy.ReasonCeiling},

		{"no grant", guest(aif.New(unlock)), policy.ReasonNoGrant},
		{"no grant, nothing asked", guest(nil), policy.ReasonNoGrant},
		{"more than was granted", guest(aif.New(unlock, disarm), to(1, unlock)), policy.ReasonMore},
		{"another action than was granted", guest(aif.New(disarm), to(1, unlock)), policy.ReasonMore},
		{"two grants are not added up", guest(aif.New(unlock, disarm), to(1, unlock), to(2, disarm)), policy.ReasonMore},
		{"a grant of nothing the device has", guest(nil, to(1, aif.Entry{Path: "/gone", Methods: aif.GET})), policy.ReasonMore},
		{"one second before it begins", guest(aif.New(unlock), between(1, now.Add(time.Second), now.Add(hour), unlock)), policy.ReasonNotYet},
		{"in the second it ends", guest(aif.New(unlock), between(1, now.Add(-hour), now, unlock)), policy.ReasonEnded},
		{"revoked", guest(aif.New(unlock), revoked(1, unlock)), policy.ReasonRevoked},
		{"all used up", guest(nil, once(1, aif.New(unlock), unlock)), policy.ReasonUsed},
		{"the asked one is used up", guest(aif.New(unlock), once(1, aif.New(unlock), view, unlock)), policy.ReasonUsed},
		{"one of the asked is used up", guest(aif.New(view, unlock), once(1, aif.New(unlock), view, unlock)), policy.ReasonUsed},

		{"an owner needs a grant to oneself", owner(aif.New(configure)), policy.ReasonReserved},
		{"an owner asks for both at once", owner(aif.New(unlock, configure)), policy.ReasonReserved},
		{"an owner's grant for a part", owner(aif.New(unlock, configure), to(1, configure)), policy.ReasonMore},
		{"an owner's grant to oneself was revoked", owner(aif.New(configure), revoked(1, configure)), policy.ReasonRevoked},

		{"used up tells more than revoked", guest(aif.New(unlock), revoked(1, unlock), once(2, aif.New(unlock), unlock)), policy.ReasonUsed},
		{"not yet tells more than ended", guest(aif.New(unlock), between(1, now.Add(hour), time.Time{}, unlock), between(2, time.Time{}, now, unlock)), policy.ReasonNotYet},
		{"ended tells more than revoked", guest(aif.New(unlock), between(1, time.Time{}, now, unlock), revoked(2, unlock)), policy.ReasonEnded},
	}
	seen := map[policy.Reason]bool{}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := policy.Decide(tt.in)
			var refused *policy.RefusedError
			if !errors.As(err, &refused) || refused.Reason != tt.want {
				t.Fatalf("got %+v, %v, want %q", got, err, tt.want)
			}
			if seen[tt.want] = true; !reflect.DeepEqual(got, policy.Decision{}) {
				t.Errorf("a refusal carries %+v", got)
			}
		})
	}
	for _, r := range reasons {
		if !seen[r] {
			t.Errorf("no row for %q", r)
		}
	}
}

// TestWindowIsExact walks over both ends of a grant in single nanoseconds and seconds.
func TestWindowIsExact(t *testing.T) {
	from, until := now, now.Add(time.Hour)
	tests := []struct {
		name string
		now  time.Time
		want policy.Reason // "": granted
	}{
		{"a second before", from.Add(-time.Second), policy.ReasonNotYet},
		{"a nanosecond before", from.Add(-1), policy.ReasonNotYet},
		{"the first moment", from, ""},
		{"a second later", from.Add(time.Second), ""},
		{"the last second", until.Add(-time.Second), ""},
		{"the last nanosecond", until.Add(-1), ""},
		{"the end", until, policy.ReasonEnded},
		{"a second after", until.Add(time.Second), policy.ReasonEnded},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := guest(aif.New(unlock), between(1, from, until, unlock))
			in.Now = tt.now
			_, err := policy.Decide(in)
			var refused *policy.RefusedError
			errors.As(err, &refused)
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("got %v, want a grant", err)
			case tt.want != "" && (refused == nil || refused.Reason != tt.want):
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
