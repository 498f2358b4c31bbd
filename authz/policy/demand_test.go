package policy_test

import (
	"errors"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz/attest"
	"github.com/latchkey-ace/latchkey/authz/policy"
	"github.com/latchkey-ace/latchkey/pop/aif"
)

var (
	hardware = attest.Demand{Key: attest.KeyHardware}
	fresh    = attest.Demand{MaxAge: time.Minute}

	nobody   = attest.Verdict{}
	degraded = attest.Verdict{Kind: attest.KeyAttestation, Key: attest.KeySoftware, System: attest.SystemDegraded, At: now}
	good     = attest.Verdict{Kind: attest.KeyAttestation, Key: attest.KeyHardware, System: attest.SystemVerified, At: now.Add(-time.Minute)}
	old      = attest.Verdict{Kind: attest.KeyAttestation, Key: attest.KeyHardware, System: attest.SystemVerified, At: now.Add(-time.Minute - time.Second)}
)

// demanding is a request of an instance where unlocking needs a key in hardware, and disarming a fresh finding too.
func demanding(v attest.Verdict, r policy.Request) policy.Request {
	r.Verdict = v
	r.Demands = []policy.Demand{
		{Rights: aif.New(unlock, disarm), Demand: hardware},
		{Rights: aif.New(disarm), Demand: fresh},
	}
	return r
}

// TestDemands: what is asked of an instance narrows what it gets, for guests and owners, and never widens it.
func TestDemands(t *testing.T) {
	all := to(1, view, unlock, disarm)
	for _, tt := range []struct {
		name string
		in   policy.Request
		want aif.Rights
		lack attest.Lack
	}{
		{"a good phone gets all", demanding(good, guest(nil, all)), aif.New(view, unlock, disarm), ""},
		{"and what it asks for", demanding(good, guest(aif.New(disarm), all)), aif.New(disarm), ""},
		{"an owner with it", demanding(good, owner(nil)), aif.New(view, unlock, disarm), ""},
		{"a degraded phone may look", demanding(degraded, guest(aif.New(view), all)), aif.New(view), ""},
		{"it gets the rest of everything", demanding(degraded, guest(nil, all)), aif.New(view), ""},
		{"an owner with it too", demanding(degraded, owner(nil)), aif.New(view), ""},
		{"it does not unlock", demanding(degraded, guest(aif.New(unlock), all)), nil, attest.LackKey},
		{"not in one request with looking either", demanding(degraded, guest(aif.New(view, unlock), all)), nil, attest.LackKey},
		{"nor for its owner", demanding(degraded, owner(aif.New(unlock))), nil, attest.LackKey},
		{"where nothing is left, it is told what it lacks", demanding(degraded, guest(nil, to(1, unlock))), nil, attest.LackKey},
		{"where the grant ended, that", demanding(degraded, guest(nil, between(1, now.Add(-time.Hour), now, unlock))), nil, ""},
		{"an app for which nobody vouches may look", demanding(nobody, guest(nil, all)), aif.New(view), ""},
		{"and not unlock", demanding(nobody, guest(aif.New(unlock), all)), nil, attest.LackApp},
		{"an old finding unlocks", demanding(old, guest(aif.New(unlock), all)), aif.New(unlock), ""},
		{"and does not disarm", demanding(old, guest(aif.New(disarm), all)), nil, attest.LackFresh},
		{"it gets the rest", demanding(old, guest(nil, all)), aif.New(view, unlock), ""},
	} {
		got, err := policy.Decide(tt.in)
		var refused *policy.RefusedError
		switch {
		case tt.want != nil:
			if err != nil || !got.Rights.Equal(tt.want) {
				t.Errorf("%s: got %v, %v, want %v", tt.name, got.Rights, err, tt.want)
			}
		case !errors.As(err, &refused):
			t.Errorf("%s: got %v", tt.name, got)
		case tt.lack != "" && (refused.Reason != policy.ReasonApp || refused.Lack != tt.lack):
			t.Errorf("%s: got %q, %q, want %q", tt.name, refused.Reason, refused.Lack, tt.lack)
		}
	}
	onlyUnlock := demanding(degraded, guest(nil, to(1, unlock)))
	onlyUnlock.Available = aif.New(unlock)
	var refused *policy.RefusedError
	if _, err := policy.Decide(onlyUnlock); !errors.As(err, &refused) || refused.Reason != policy.ReasonApp || refused.Lack != attest.LackKey {
		t.Errorf("a device that has nothing else: %v", err)
	}
	waiting := demanding(old, guest(aif.New(disarm), all))
	waiting.AnyAge = true
	if _, err := policy.Decide(waiting); err != nil {
		t.Errorf("while a person thinks, age does not count: %v", err)
	}
}
