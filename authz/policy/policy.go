// Package policy decides what a token may say: grants × client × audience × asked rights → granted rights, or the
// reason why not. It is pure: no clock, no store, no network. It knows nothing of tokens and keys.
// Start from Decide.
package policy

import (
	"fmt"
	"time"

	"github.com/latchkey-ace/latchkey/authz/attest"
	"github.com/latchkey-ace/latchkey/internal/checks"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
)

// Grant is one permission, already known to be for this subject and device.
type Grant struct {
	ID          pop.GrantID
	Rights      aif.Rights
	Spent       aif.Rights // used up, of a Once grant
	From, Until time.Time  // zero: unbounded
	Once        bool
	Revoked     bool
}

// Request is everything a decision depends on.
type Request struct {
	Now       time.Time
	Owner     bool       // the subject owns the device
	Available aif.Rights // everything the device can do
	Reserved  aif.Rights // what even the owner needs a grant for: configure and administer (D26)
	Ceiling   aif.Rights // the most the client may carry, with HasCeiling
	Asked     aif.Rights // empty: everything the subject may have
	Grants    []Grant
	Verdict   attest.Verdict // of the app instance that asks
	Demands   []Demand       // what the device asks of it
	AnyAge    bool           // how old the verdict is does not matter: a person is asked now and the app will show a fresh one

	HasCeiling bool

	kept aif.Rights // what the device has and this instance lacks something for
	lack attest.Lack
}

// Demand is what an app instance must be to have any of these rights.
type Demand struct {
	Rights aif.Rights
	attest.Demand
}

// Decision is what a token may carry. All of it comes from one grant, because a token names one (D6).
type Decision struct {
	Grant  pop.GrantID // zero: the owner's own rights
	Rights aif.Rights
	Until  time.Time // zero: unbounded
	Once   []uint    // indexes into Rights whose state-changing methods may be used once
}

// Reason says why nothing was granted. The texts are stable: they stand in the audit log.
type Reason string

const (
	ReasonUnknownRight Reason = "the device has no such action"
	ReasonCeiling      Reason = "the client may never ask for this"
	ReasonNoGrant      Reason = "no grant"
	ReasonMore         Reason = "more than was granted"
	ReasonNotYet       Reason = "the grant has not begun"
	ReasonEnded        Reason = "the grant has ended"
	ReasonRevoked      Reason = "the grant was revoked"
	ReasonUsed         Reason = "the grant is used up"
	ReasonReserved     Reason = "the owner needs a grant to oneself for this"
	ReasonApp          Reason = "the device wants more of the app" // Lack says what
)

// RefusedError is a decision against the request.
type RefusedError struct {
	Reason Reason
	Lack   attest.Lack // with ReasonApp: what there would have to be
}

func (e *RefusedError) Error() string { return "refused: " + e.Why() }

// Why is the reason in words, for people and the audit log.
func (e *RefusedError) Why() string {
	if e.Lack != attest.LackNone {
		return fmt.Sprintf("%s: %s", e.Reason, e.Lack)
	}
	return string(e.Reason)
}

func refuse(r Reason) (Decision, error) { return Decision{}, &RefusedError{Reason: r} }

// Decide grants all that was asked or nothing: a token that silently carries less would surprise at the door. With
// several grants that would do, it takes the one that lasts longest.
func Decide(r Request) (Decision, error) {
	if len(r.Asked) > 0 && r.Asked.Empty() || !r.Asked.Subset(r.Available) {
		return refuse(ReasonUnknownRight) // an entry without a method asks for nothing, not for everything
	}
	r.Asked = aif.New(r.Asked...) // Decision.Once counts in this order, which is that of the token
	if r.HasCeiling && !r.Asked.Subset(r.Ceiling) {
		return refuse(ReasonCeiling)
	}
	if err := r.meet(); err != nil {
		return Decision{}, err
	}
	if r.Owner {
		if d, ok := r.own(); ok {
			return d, nil
		}
	}
	return r.granted()
}

// meet holds the request to what the device asks of the app instance: what was asked by name is refused if the instance lacks
// anything for it, and where everything was asked for the rest is given.
func (r *Request) meet() error {
	now := r.Now
	if r.AnyAge {
		now = time.Time{}
	}
	whole := r.Available
	for _, d := range r.Demands {
		found := d.Lack(r.Verdict, now)
		switch {
		case found == attest.LackNone || !checks.Attestation:
		case len(r.Asked) > 0 && !r.Asked.Intersect(d.Rights).Empty():
			return &RefusedError{Reason: ReasonApp, Lack: found}
		case len(r.Asked) == 0:
			r.Available, r.lack = r.Available.Without(d.Rights), found
		}
	}
	r.kept = whole.Without(r.Available)
	if r.Available.Empty() && r.lack != attest.LackNone {
		return &RefusedError{Reason: ReasonApp, Lack: r.lack}
	}
	return nil
}

// own answers from the owner's own rights.
func (r Request) own() (Decision, bool) {
	held := r.capped(r.Available.Without(r.Reserved))
	if len(r.Asked) == 0 {
		return Decision{Rights: held}, len(held) > 0
	}
	return Decision{Rights: r.Asked}, r.Asked.Subset(held)
}

func (r Request) capped(rights aif.Rights) aif.Rights {
	if r.HasCeiling {
		return rights.Intersect(r.Ceiling)
	}
	return rights
}

// barred reports that there are rights, but none that the client may carry.
func (r Request) barred(rights aif.Rights) bool {
	return len(rights) > 0 && len(r.capped(rights)) == 0
}

// granted answers from the best grant, or with the reason of the grant that came closest.
func (r Request) granted() (Decision, error) {
	best, reason := Decision{}, ReasonNoGrant
	if r.Owner {
		reason = ReasonReserved
		if len(r.Asked) == 0 && r.barred(r.Available.Without(r.Reserved)) {
			reason = ReasonCeiling
		}
	}
	found := false
	for _, g := range r.Grants {
		d, why := r.from(g)
		if why != "" {
			reason = closer(reason, why)
			continue
		}
		if !found || lasts(d.Until, best.Until) {
			best, found = d, true
		}
	}
	switch {
	case found:
		return best, nil
	case reason == ReasonApp:
		return Decision{}, &RefusedError{Reason: reason, Lack: r.lack}
	}
	return refuse(reason)
}

// from tries one grant.
func (r Request) from(g Grant) (Decision, Reason) {
	switch {
	case g.Revoked:
		return Decision{}, ReasonRevoked
	case r.Now.Before(g.From):
		return Decision{}, ReasonNotYet
	case !g.Until.IsZero() && !r.Now.Before(g.Until):
		return Decision{}, ReasonEnded
	}
	usable := g.Rights.Intersect(r.Available)
	held := r.capped(usable)
	left := held.Without(g.Spent)
	asked := r.Asked
	if len(asked) == 0 {
		asked = left
	}
	switch {
	case len(r.Asked) == 0 && r.barred(usable):
		return Decision{}, ReasonCeiling
	case len(left) == 0 && len(held) > 0:
		return Decision{}, ReasonUsed
	case len(asked) == 0 && !g.Rights.Intersect(r.kept).Empty():
		return Decision{}, ReasonApp
	case len(asked) == 0 || checks.Rights && !asked.Subset(held):
		return Decision{}, ReasonMore
	case checks.Rights && !asked.Subset(left):
		return Decision{}, ReasonUsed
	}
	return Decision{Grant: g.ID, Rights: asked, Until: g.Until, Once: onceIndexes(g, asked)}, ""
}

// onceIndexes names the entries that change state; looking may be repeated.
func onceIndexes(g Grant, rights aif.Rights) []uint {
	if !g.Once {
		return nil
	}
	var once []uint
	for i, e := range rights {
		if e.Methods.ChangesState() {
			once = append(once, uint(i))
		}
	}
	return once
}

func lasts(a, b time.Time) bool {
	return !b.IsZero() && (a.IsZero() || a.After(b))
}

// order of closeness: the later reason tells the person more.
var closeness = map[Reason]int{
	ReasonNoGrant: 0, ReasonReserved: 1, ReasonRevoked: 2, ReasonEnded: 3, ReasonNotYet: 4, ReasonCeiling: 5, ReasonMore: 6, ReasonApp: 7, ReasonUsed: 8,
}

func closer(a, b Reason) Reason {
	if closeness[b] > closeness[a] {
		return b
	}
	return a
}
