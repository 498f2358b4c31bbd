package authz_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/cose"
)

// voucher is a thing that is good for one token, as codes are: fresh gives one with the right request for it, state is
// everything about it that a request could change. Its flaws stand in the order in which the server looks.
type voucher struct {
	fresh func(w *world) attempt
	state func(w *world, a attempt) any
	flaws []flaw
}

var (
	theKey    = bytes.Repeat([]byte{1}, 32)
	otherKey  = bytes.Repeat([]byte{2}, 32)
	allGrants = []string{authz.AuthorizationCode, authz.RefreshToken, authz.DeviceCodeGrant}
)

// Flaws that any voucher can have, before and after those of its own.
var (
	wrongGrant  = flaw{"another grant type", func(_ *world, a *attempt) { a.in.GrantType = "password" }, ace.UnsupportedGrantType, "this server does not grant that"}
	wrongTarget = flaw{"another audience", func(_ *world, a *attempt) { a.in.Audience = audience(2) }, ace.InvalidGrant, "another audience"}
	weakKey     = flaw{"a key it may not bring", func(_ *world, a *attempt) {
		a.in.ReqCnf = &pop.Confirmation{Key: cose.NewSymmetric(make([]byte, 16), nil)}
	}, ace.InvalidRequest, "req_cnf: the key is not random"}
	tooMuch      = flaw{"more than was agreed", func(_ *world, a *attempt) { a.in.Scope.Words = "unlock disarm" }, ace.InvalidScope, "more than was granted"}
	wrongProfile = flaw{"another profile", func(_ *world, a *attempt) {
		a.in.Profile = &ace.ProfileRequest{Named: true, Profile: pop.ProfileCoAPDTLS}
	}, ace.IncompatibleProfiles, "this device speaks coap_oscore"}
	otherClient = func(reason string) flaw {
		return flaw{"another client", func(_ *world, a *attempt) { a.caller.ID = "mallory" }, ace.InvalidGrant, reason}
	}
	notAllowed = func(grantType string) flaw {
		return flaw{"a client that may not use it", func(_ *world, a *attempt) { a.caller.GrantTypes = []string{authz.ClientCredentials} }, ace.UnauthorizedClient, "this client may not use " + grantType}
	}
	unproved = func(reason string) flaw {
		return flaw{"a proof of another key", func(_ *world, a *attempt) { a.dpop = otherKey }, ace.InvalidGrant, reason}
	}
)

var vouchers = map[string]voucher{
	"refresh token": {freshRefresh(nil), refreshState, []flaw{
		wrongGrant, notAllowed(authz.RefreshToken),
		{"an unknown token", func(_ *world, a *attempt) { a.in.RefreshToken = spoiled(a.in.RefreshToken) }, ace.InvalidGrant, "unknown refresh token"},
		otherClient("refresh token of another client"),
		{"an expired token", func(_ *world, a *attempt) { a.late = authz.RefreshLife }, ace.InvalidGrant, "expired refresh token"},
		wrongTarget,
		{"another possession key", func(_ *world, a *attempt) { a.in.ReqCnf = &pop.Confirmation{KeyID: []byte("another!")} }, ace.InvalidGrant, "another possession key"},
		tooMuch, wrongProfile,
	}},
	"refresh token with a key": {freshRefresh(theKey), refreshState, []flaw{
		wrongGrant, otherClient("refresh token of another client"),
		{"an expired token", func(_ *world, a *attempt) { a.late = authz.RefreshLife }, ace.InvalidGrant, "expired refresh token"},
		unproved("refresh token of another key"), wrongTarget, tooMuch,
	}},
	"device code": {freshDeviceCode(nil), deviceCodeState, []flaw{
		wrongGrant, notAllowed(authz.DeviceCodeGrant),
		{"an unknown code", func(_ *world, a *attempt) { a.in.DeviceCode = spoiled(a.in.DeviceCode) }, ace.InvalidGrant, "unknown device code"},
		otherClient("device code of another client"),
		{"an expired code", func(_ *world, a *attempt) { a.late = authz.DeviceCodeLife }, ace.ExpiredToken, "nobody answered in time; begin again"},
		wrongTarget, weakKey, tooMuch, wrongProfile,
	}},
	"device code with a key": {freshDeviceCode(theKey), deviceCodeState, []flaw{
		wrongGrant, otherClient("device code of another client"), unproved("device code of another key"), wrongTarget, weakKey, tooMuch,
	}},
}

// spoiled differs in one bit.
func spoiled(secret string) string {
	raw, err := base64.RawURLEncoding.DecodeString(secret)
	if err != nil {
		panic(err)
	}
	raw[len(raw)-1] ^= 1
	return base64.RawURLEncoding.EncodeToString(raw)
}

func freshRefresh(key []byte) func(*world) attempt {
	return func(w *world) attempt {
		a := attempt{caller: w.lodger(), dpop: key}
		a.in = refresh(w.first(authz.Caller{Client: a.caller, DPoP: key}).RefreshToken)
		return a
	}
}

func refreshState(w *world, a attempt) any {
	raw, err := base64.RawURLEncoding.DecodeString(a.in.RefreshToken)
	w.must(err)
	f, err := w.store.Family(w.t.Context(), authz.FamilyID(raw[:16]))
	w.must(err)
	return f
}

func freshDeviceCode(key []byte) func(*world) attempt {
	return func(w *world) attempt {
		a := attempt{caller: w.lodger(), dpop: key}
		q := question()
		out, err := w.server.AuthorizeDevice(w.t.Context(), authz.Caller{Client: a.caller, DPoP: key}, authz.AuthorizeRequest{ClientID: a.caller.ID, Audience: q.Audience})
		w.must(err)
		asked, err := w.server.DeviceQuestion(w.t.Context(), out.UserCode)
		w.must(err)
		d, err := w.server.Preview(w.t.Context(), asked.Authorization, "mother")
		w.must(err)
		w.must(w.server.AnswerDevice(w.t.Context(), asked, "mother", d.Rights))
		a.in = &ace.TokenRequest{GrantType: authz.DeviceCodeGrant, DeviceCode: out.DeviceCode}
		return a
	}
}

func deviceCodeState(w *world, a attempt) any {
	c, err := w.store.DeviceCode(w.t.Context(), hashOf(a.in.DeviceCode))
	w.must(err)
	return c
}

// lodger is an app with a secret that may use every voucher.
func (w *world) lodger() authz.Client {
	w.t.Helper()
	c := authz.Client{ID: "lodger", AuthMethod: authz.AuthSecretBasic, RedirectURIs: []string{back}, GrantTypes: allGrants, ClientMadeKeys: true}
	if err := w.store.AddClient(w.t.Context(), c); !errors.Is(err, authz.ErrExists) {
		w.must(err)
	}
	return c
}

// try makes the request.
func (w *world) try(a attempt) (*ace.TokenResponse, error) {
	return w.server.Token(w.t.Context(), authz.Caller{Client: a.caller, DPoP: a.dpop}, a.in)
}

// TestFlawedVouchers: each flaw and each pair of them is refused for the first, changes nothing, and leaves the voucher good for
// who holds it.
func TestFlawedVouchers(t *testing.T) {
	for name, v := range vouchers {
		t.Run(name, func(t *testing.T) {
			w := newDoors(t)
			for i, first := range v.flaws {
				t.Run(first.name, func(t *testing.T) { checkVoucher(t, w, v, first) })
				for _, second := range v.flaws[i+1:] {
					t.Run(first.name+", "+second.name, func(t *testing.T) { checkVoucher(t, w, v, first, second) })
				}
			}
		})
	}
}

func checkVoucher(t *testing.T, w *world, v voucher, made ...flaw) {
	t.Helper()
	right := v.fresh(w)
	in := *right.in
	wrong := right
	wrong.in = &in
	for i := range made {
		made[len(made)-1-i].make(w, &wrong)
	}
	type all struct {
		Voucher any
		Tokens  [][]authz.TokenRecord
		Uploads int
	}
	state := func() all {
		return all{v.state(w, right), [][]authz.TokenRecord{w.tokens(1), w.tokens(2)}, len(w.courier.got())}
	}
	before, count := state(), len(w.audit())
	w.clock.move(wrong.late)
	_, err := w.try(wrong)
	w.refused(err, made[0].want, made[0].reason)
	w.clock.move(-wrong.late)
	if after := state(); !reflect.DeepEqual(after, before) {
		t.Errorf("the refused request changed\n%+v to\n%+v", before, after)
	}
	if n := len(w.audit()); n != count+1 {
		t.Errorf("%d audit entries for one refusal", n-count)
	}
	if _, err := w.try(right); err != nil {
		t.Errorf("the right request after it: %v", err)
	}
	w.clock.move(time.Second)
}

// pushing is a request that is pushed, and then taken up.
type pushing struct {
	by      authz.Client
	q       authz.AuthorizeRequest
	takenBy string
	uri     string
	late    time.Duration
}

// TestFlawedPushedRequests: nothing is kept of a request with a flaw or two; and who takes up a good one with a flaw or two spoils
// nothing for its client, who has its code of it once.
func TestFlawedPushedRequests(t *testing.T) {
	type flaw struct {
		name string
		make func(p *pushing)
	}
	pairs := func(flaws []flaw, check func(t *testing.T, made ...flaw)) {
		for i, first := range flaws {
			t.Run(first.name, func(t *testing.T) { check(t, first) })
			for _, second := range flaws[i+1:] {
				t.Run(first.name+", "+second.name, func(t *testing.T) { check(t, first, second) })
			}
		}
	}
	w := newDoors(t)
	c := w.lodger()
	good := func() pushing {
		p := pushing{by: c, q: question(), takenBy: c.ID}
		p.q.ClientID = c.ID
		return p
	}
	push := func(p pushing) (string, error) {
		uri, _, err := w.server.Push(t.Context(), p.by, p.q, "as it was sent")
		return uri, err
	}
	pairs([]flaw{
		{"another client", func(p *pushing) { p.q.ClientID = "mallory" }},
		{"another redirect", func(p *pushing) { p.q.RedirectURI = "https://evil.example/" }},
		{"another response type", func(p *pushing) { p.q.ResponseType = "token" }},
		{"no challenge", func(p *pushing) { p.q.CodeChallenge = "" }},
		{"a plain challenge", func(p *pushing) { p.q.CodeChallengeMethod = "plain" }},
		{"an unknown audience", func(p *pushing) { p.q.Audience = "barn" }},
		{"an unknown action", func(p *pushing) { p.q.Scope = "fly" }},
		{"another key", func(p *pushing) { p.q.DPoPKey = "short" }},
	}, func(t *testing.T, made ...flaw) {
		p := good()
		for _, f := range made {
			f.make(&p)
		}
		if uri, err := push(p); !errors.As(err, new(*ace.Error)) || uri != "" {
			t.Errorf("got %q, %v", uri, err)
		}
	})
	pairs([]flaw{
		{"by another client", func(p *pushing) { p.takenBy = "mallory" }},
		{"an unknown request", func(p *pushing) {
			p.uri = "urn:ietf:params:oauth:request_uri:" + spoiled(p.uri[len("urn:ietf:params:oauth:request_uri:"):])
		}},
		{"too late", func(p *pushing) { p.late = authz.PushedLife }},
	}, func(t *testing.T, made ...flaw) {
		uri, err := push(good())
		w.must(err)
		p := good()
		p.uri = uri
		for _, f := range made {
			f.make(&p)
		}
		w.clock.move(p.late)
		var shown *authz.NoRedirectError
		if _, err := w.server.Pushed(t.Context(), p.takenBy, p.uri); !errors.As(err, &shown) {
			t.Errorf("got %v", err)
		}
		w.clock.move(-p.late)
		row, err := w.server.Pushed(t.Context(), c.ID, uri)
		w.must(err)
		again := good().q
		again.Pushed = string(row.Hash)
		if v := w.ask("mother", again); v.Get("code") == "" {
			t.Errorf("its own client gets %v", v)
		}
		if _, err := w.server.Pushed(t.Context(), c.ID, uri); !errors.As(err, &shown) {
			t.Errorf("a second time: got %v", err)
		}
	})
}
