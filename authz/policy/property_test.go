package policy_test

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz/policy"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"pgregory.net/rapid"
)

// few paths and methods, so that sets meet often.
var (
	anyEntry = rapid.Custom(func(t *rapid.T) aif.Entry {
		return aif.Entry{
			Path:    rapid.SampledFrom([]string{"/a", "/a/b", "/b", "/c?x=1"}).Draw(t, "path"),
			Methods: aif.Methods(rapid.SampledFrom([]int{0, 1, 2, 3, 4, 6, 1 << 33}).Draw(t, "methods")),
		}
	})
	anyRights = rapid.Custom(func(t *rapid.T) aif.Rights { // not always in order
		return aif.Rights(rapid.SliceOfN(anyEntry, 0, 5).Draw(t, "rights"))
	})
	anyTime = rapid.Custom(func(t *rapid.T) time.Time {
		if rapid.Bool().Draw(t, "unbounded") {
			return time.Time{}
		}
		return now.Add(time.Duration(rapid.IntRange(-2, 2).Draw(t, "seconds")) * time.Second)
	})
	anyGrant = rapid.Custom(func(t *rapid.T) policy.Grant {
		return policy.Grant{
			ID: id(rapid.Byte().Draw(t, "id")), Rights: anyRights.Draw(t, "granted"), Spent: anyRights.Draw(t, "spent"),
			From: anyTime.Draw(t, "from"), Until: anyTime.Draw(t, "until"),
			Once: rapid.Bool().Draw(t, "once"), Revoked: rapid.Bool().Draw(t, "revoked"),
		}
	})
	anyRequest = rapid.Custom(func(t *rapid.T) policy.Request {
		grants := rapid.SliceOfN(anyGrant, 0, 4).Draw(t, "grants")
		for i := range grants {
			grants[i].ID = id(byte(i + 1))
		}
		return policy.Request{
			Now: now, Owner: rapid.Bool().Draw(t, "owner"), Available: anyRights.Draw(t, "available"),
			Reserved: anyRights.Draw(t, "reserved"), Ceiling: anyRights.Draw(t, "ceiling"), HasCeiling: rapid.Bool().Draw(t, "has ceiling"),
			Asked: anyRights.Draw(t, "asked"), Grants: grants,
		}
	})
)

// TestNobodyGetsMore: whatever goes in, what comes out lies within the device, the ceiling and one live grant or the
// owner's own rights, and is all that was asked.
func TestNobodyGetsMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := anyRequest.Draw(t, "request")
		got, err := policy.Decide(in)
		if err != nil {
			checkRefusal(t, got, err)
			return
		}
		switch {
		case got.Rights.Empty():
			t.Fatal("a decision without rights")
		case !slices.Equal(got.Rights, aif.New(got.Rights...)):
			t.Fatalf("rights %v are not in order, which the indexes of once rely on", got.Rights)
		case !got.Rights.Subset(in.Available):
			t.Fatalf("%v is more than the device has", got.Rights)
		case in.HasCeiling && !got.Rights.Subset(in.Ceiling):
			t.Fatalf("%v is above the ceiling", got.Rights)
		case len(in.Asked) > 0 && !got.Rights.Equal(in.Asked):
			t.Fatalf("got %v, asked for %v", got.Rights, in.Asked)
		}
		checkSource(t, in, got)
	})
}

func checkRefusal(t *rapid.T, got policy.Decision, err error) {
	var refused *policy.RefusedError
	if !errors.As(err, &refused) || !slices.Contains(reasons, refused.Reason) {
		t.Fatalf("refused with %v", err)
	}
	if !reflect.DeepEqual(got, policy.Decision{}) {
		t.Fatalf("a refusal carries %+v", got)
	}
}

// checkSource holds the decision against the grant it names.
func checkSource(t *rapid.T, in policy.Request, got policy.Decision) {
	i := slices.IndexFunc(in.Grants, func(g policy.Grant) bool { return g.ID == got.Grant })
	if i < 0 {
		if !in.Owner || !got.Rights.Subset(in.Available.Without(in.Reserved)) || !got.Until.IsZero() || got.Once != nil {
			t.Fatalf("%+v is not the owner's", got)
		}
		return
	}
	g := in.Grants[i]
	switch {
	case g.Revoked, in.Now.Before(g.From), !g.Until.IsZero() && !in.Now.Before(g.Until):
		t.Fatalf("grant %+v is not live", g)
	case !got.Rights.Subset(g.Rights.Without(g.Spent)):
		t.Fatalf("%v is more than is left of %+v", got.Rights, g)
	case !got.Until.Equal(g.Until):
		t.Fatalf("until %v is not the grant's %v", got.Until, g.Until)
	}
	for n, e := range got.Rights {
		if marked := slices.Contains(got.Once, uint(n)); marked != (g.Once && e.Methods.ChangesState()) {
			t.Fatalf("entry %d of %v: once is %v", n, got.Rights, marked)
		}
	}
}

// TestMoreGrantsNeverTake: a further grant takes nothing away, and never shortens.
func TestMoreGrantsNeverTake(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := anyRequest.Draw(t, "request")
		if len(in.Asked) == 0 {
			in.Asked = aif.New(anyEntry.Draw(t, "asked"))
		}
		before, err := policy.Decide(in)
		if err != nil {
			return
		}
		more := anyGrant.Draw(t, "more")
		more.ID = id(0xff)
		in.Grants = append(slices.Clone(in.Grants), more)
		after, err := policy.Decide(in)
		switch {
		case err != nil:
			t.Fatalf("one more grant and it is refused: %v", err)
		case !after.Rights.Equal(before.Rights):
			t.Fatalf("got %v, before %v", after.Rights, before.Rights)
		case !after.Until.IsZero() && (before.Until.IsZero() || after.Until.Before(before.Until)):
			t.Fatalf("ends at %v, before at %v", after.Until, before.Until)
		}
	})
}
