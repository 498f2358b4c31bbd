package authz

import (
	"context"
	"crypto/ecdh"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/provision"
)

// publicKey is the device's P-256 key for sign1-ecdh and jwt.
func (d *Device) publicKey() (*ecdh.PublicKey, error) {
	key, err := ecdh.P256().NewPublicKey(d.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("public key of %s: %w", d.Audience(), err)
	}
	return key, nil
}

// ownerNeedsGrant names the actions no owner holds by owning (D26).
var ownerNeedsGrant = []string{"configure", "administer"}

func reserved(d *Device) aif.Rights {
	var r aif.Rights
	for _, name := range ownerNeedsGrant {
		if a, ok := d.Action(name); ok {
			r = r.Union(aif.New(aif.Entry{Path: a.Path, Methods: a.Methods}))
		}
	}
	return r
}

// rightsOf reads a scope: action names and /path:METHOD entries in any order, or AIF as it is. Empty means all.
func rightsOf(d *Device, scope ace.Scope) (aif.Rights, error) {
	if scope.Rights != nil {
		return scope.Rights, nil
	}
	r, unknown := d.ParseRights(strings.Fields(scope.Words))
	if unknown != "" || scope.Words != "" && r.Empty() { // words without a meaning must not turn into "all"
		return nil, &ace.Error{Code: ace.InvalidScope, Description: "the device has no such action"}
	}
	return r, nil
}

// ParseRights turns action names and /path:METHOD entries into rights; unknown is the first word that is neither.
func (d *Device) ParseRights(words []string) (rights aif.Rights, unknown string) {
	for _, word := range words {
		if a, ok := d.Action(word); ok {
			rights = rights.Union(aif.New(aif.Entry{Path: a.Path, Methods: a.Methods}))
			continue
		}
		e, err := aif.ParseEntry(word)
		if err != nil {
			return nil, word
		}
		rights = rights.Union(aif.New(e))
	}
	return rights, ""
}

// Names says rights in the device's own words; what has no name is written as /path:METHOD.
func (d *Device) Names(rights aif.Rights) []string {
	var names []string
	left := rights
	for _, a := range d.Actions {
		one := aif.New(aif.Entry{Path: a.Path, Methods: a.Methods})
		if !one.Empty() && one.Subset(left) {
			names = append(names, a.Name)
			left = left.Without(one)
		}
	}
	for _, e := range left {
		names = append(names, e.String())
	}
	return names
}

// ceilingOf is the most a client may carry on this device; words that mean nothing there add nothing.
func ceilingOf(d *Device, c *Client) aif.Rights {
	var r aif.Rights
	for _, word := range c.Ceiling {
		if one, unknown := d.ParseRights([]string{word}); unknown == "" {
			r = r.Union(one)
		}
	}
	return r
}

// scopeFor answers in the manner of the question: words for words, nothing where AIF was granted as asked.
func scopeFor(d *Device, granted aif.Rights, asked ace.Scope) ace.Scope {
	if asked.Rights != nil {
		if granted.Equal(asked.Rights) {
			return ace.Scope{}
		}
		return ace.Scope{Rights: granted}
	}
	words := strings.Join(d.Names(granted), " ")
	if len(words) > maxScopeWords {
		return ace.Scope{Rights: granted}
	}
	return ace.Scope{Words: words}
}

// Give stores an owner's permission after checking that it is the owner's to give.
func (s *Server) Give(ctx context.Context, g Grant) (Grant, error) {
	d, err := s.store.Device(ctx, g.Device)
	if err != nil {
		return Grant{}, fmt.Errorf("device: %w", err)
	}
	now := s.now()
	switch {
	case d.Owner != g.Owner:
		return Grant{}, fmt.Errorf("%s does not own %s", g.Owner, d.Name)
	case (g.To.User == "") == (g.To.Client == ""):
		return Grant{}, errors.New("a grant is for one user or one client")
	case g.Rights.Empty() || !g.Rights.Subset(d.Rights()):
		return Grant{}, fmt.Errorf("%s cannot do all of %s", d.Name, g.Rights)
	case !g.Until.IsZero() && !g.Until.After(now):
		return Grant{}, errors.New("the grant would have ended already: give a later --until")
	case !g.Until.IsZero() && !g.Until.After(g.From):
		return Grant{}, errors.New("the grant would end before it begins: give a later --until")
	}
	if _, err := io.ReadFull(s.rand, g.ID[:]); err != nil {
		return Grant{}, fmt.Errorf("grant id: %w", err)
	}
	g.CreatedAt = now
	if err := s.store.AddGrant(ctx, g); err != nil {
		return Grant{}, fmt.Errorf("store grant: %w", err)
	}
	s.audit(ctx, AuditEntry{Event: "grant.add", Result: "granted", User: g.Owner, Client: g.To.Client, Device: d.Audience(), Grant: g.ID})
	return g, nil
}

// Revocation is how far the end of a grant has come.
type Revocation struct {
	Grant     Grant
	Device    Device
	Confirmed bool      // the device answered that it dropped every token of the grant
	EndsBy    time.Time // when the last token ends by itself; zero: no token was out
	Cause     error     // why it is not confirmed
}

// Revoke ends a grant: minting stops at once, and the device's outbox has the word in the same transaction. Then the device is
// told over its channel. Confirmed is true only after the device's own answer; what is not confirmed now the outbox tells
// later, until the device has answered or has nothing left to forget. An error means that not even minting has been stopped.
func (s *Server) Revoke(ctx context.Context, id pop.GrantID) (Revocation, error) {
	now := s.now()
	g, err := s.store.Grant(ctx, id)
	if err != nil {
		return Revocation{}, fmt.Errorf("revoke: %w", err)
	}
	d, err := s.store.Device(ctx, g.Device)
	if err != nil {
		return Revocation{}, fmt.Errorf("revoke: %w", err)
	}
	out, err := s.store.Revoke(ctx, id, now)
	if err != nil {
		return Revocation{}, fmt.Errorf("revoke: %w", err)
	}
	if g.RevokedAt.IsZero() {
		g.RevokedAt = now
	}
	if err := s.hold(ctx, &g); err != nil {
		s.log.Warn("outbox", "err", err) // then the device may be told twice
	}
	s.bell.ring()
	r := Revocation{Grant: g, Device: d}
	r.EndsBy = lastEnd(&r.Device, out)
	s.audit(ctx, AuditEntry{Event: "grant.revoke", Result: "granted", User: r.Grant.Owner, Device: r.Device.Audience(), Grant: id})
	r.Confirmed, r.Cause = s.tell(ctx, &r.Device, out)
	if r.Confirmed {
		if err := s.confirmed(ctx, &g); err != nil {
			r.Confirmed, r.Cause = false, fmt.Errorf("the device confirmed, but that could not be stored: %w", err)
		}
	}
	return r, nil
}

// lastEnd is when the last token ends by itself. A device without a clock may accept it in its last second and then counts
// exi (D16).
func lastEnd(d *Device, tokens []TokenRecord) (end time.Time) {
	for _, t := range tokens {
		last := t.Expires
		if d.Clock != provision.ClockSynced {
			last = last.Add(d.exi())
		}
		if last.After(end) {
			end = last
		}
	}
	return end
}

// tell sends the hashes of ended tokens and reports whether the device has applied them.
func (s *Server) tell(ctx context.Context, d *Device, ended []TokenRecord) (bool, error) {
	switch {
	case d.Delivery == DeliveryHTTP || d.Delivery == DeliveryIntrospect:
		return false, errors.New("who is asked by introspection learns it at once; what it has accepted already ends by itself")
	case s.deliver == nil || d.Delivery != DeliveryPush:
		return false, errors.New("the device is not online; its tokens end by themselves")
	}
	teller := Teller{Sequences: s.store, Deliverer: s.deliver, Now: s.now}
	for _, piece := range pieces(ended) {
		if err := teller.Tell(ctx, *d, piece); err != nil {
			return false, err
		}
	}
	return true, nil
}

// pieces lists every hash the device may know a token by, in as many pieces of news as it takes, one at least.
func pieces(ended []TokenRecord) [][][]byte {
	var hashes [][]byte
	for _, t := range ended {
		hashes = append(hashes, t.Hash)
		if t.AltHash != nil {
			hashes = append(hashes, t.AltHash)
		}
	}
	return append(slices.Collect(slices.Chunk(hashes, HashesPerNews)), nil)[:max(1, (len(hashes)+HashesPerNews-1)/HashesPerNews)]
}

// hold keeps the outbox from telling of a grant, because the caller does so himself. If he dies it does it after TellTime.
func (s *Server) hold(ctx context.Context, g *Grant) error {
	now := s.now()
	waiting, err := s.waiting(ctx, g, now)
	if err != nil || len(waiting) == 0 {
		return err
	}
	return s.store.Retry(ctx, now.Add(TellTime), waiting...)
}

// confirmed notes what the device has said: nothing of the grant waits for it any more.
func (s *Server) confirmed(ctx context.Context, g *Grant) error {
	now := s.now()
	waiting, err := s.waiting(ctx, g, now)
	if err != nil {
		return err
	}
	if err := s.store.Told(ctx, now, waiting...); err != nil {
		return err
	}
	return s.store.Confirm(ctx, g.ID, now)
}

// waiting are the messages of a grant that its device has not confirmed.
func (s *Server) waiting(ctx context.Context, g *Grant, now time.Time) (list []int64, err error) {
	all, err := s.store.Waiting(ctx, g.Device, now)
	for _, m := range all {
		if m.Grant == g.ID {
			list = append(list, m.ID)
		}
	}
	return list, err
}
