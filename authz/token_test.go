package authz_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/cose"
)

// attempt is a redemption as it will be made.
type attempt struct {
	caller authz.Client
	in     *ace.TokenRequest
	dpop   []byte        // thumbprint of the key that is proved
	late   time.Duration // how long after the right one
}

// flaw makes one thing wrong. The rows stand in the order in which the server looks.
type flaw struct {
	name   string
	make   func(w *world, a *attempt)
	want   ace.ErrorCode
	reason string
}

var flaws = []flaw{
	{"another grant type", func(_ *world, a *attempt) { a.in.GrantType = "password" }, ace.UnsupportedGrantType, "this server does not grant that"},
	{"a client that may not use codes", func(w *world, a *attempt) { a.caller = w.gateway }, ace.UnauthorizedClient, "this client may not use authorization_code"},
	{"an unknown code", func(_ *world, a *attempt) { a.in.Code = strings.Repeat("A", 43) }, ace.InvalidGrant, "unknown code"},
	{"another client", func(_ *world, a *attempt) { a.caller.ID = "mallory" }, ace.InvalidGrant, "code of another client"},
	{"another redirect", func(_ *world, a *attempt) { a.in.RedirectURI = back + "/" }, ace.InvalidGrant, "another redirect_uri"},
	{"another verifier", func(_ *world, a *attempt) { a.in.CodeVerifier = verifier[:42] + "l" }, ace.InvalidGrant, "wrong code_verifier"},
	{"an expired code", func(_ *world, a *attempt) { a.late = authz.CodeLife }, ace.InvalidGrant, "expired code"},
	{"another audience", func(_ *world, a *attempt) { a.in.Audience = audience(2) }, ace.InvalidGrant, "another audience"},
	{"a key it may not bring", func(_ *world, a *attempt) {
		a.in.ReqCnf = &pop.Confirmation{Key: cose.NewSymmetric(make([]byte, 16), nil)}
	}, ace.InvalidRequest, "req_cnf: the key is not random"},
	{"more than was agreed", func(_ *world, a *attempt) { a.in.Scope.Words = "unlock disarm" }, ace.InvalidScope, "more than was granted"},
	{"another profile", func(_ *world, a *attempt) {
		a.in.Profile = &ace.ProfileRequest{Named: true, Profile: pop.ProfileCoAPDTLS}
	}, ace.IncompatibleProfiles, "this device speaks coap_oscore"},
}

// single are flaws that differ from one in flaws by their detail.
var single = []flaw{
	{"no code", func(_ *world, a *attempt) { a.in.Code = "" }, ace.InvalidRequest, "code is missing"},
	{"a code with one more letter", func(_ *world, a *attempt) { a.in.Code += "A" }, ace.InvalidGrant, "unknown code"},
	{"no grant type", func(_ *world, a *attempt) { a.in.GrantType = "" }, ace.UnsupportedGrantType, "this server does not grant that"},
	{"refresh", func(_ *world, a *attempt) { a.in.GrantType = "refresh_token" }, ace.UnauthorizedClient, "this client may not use refresh_token"},
	{"a public client's own rights", func(_ *world, a *attempt) {
		a.in.GrantType, a.caller.GrantTypes = authz.ClientCredentials, []string{authz.ClientCredentials}
	}, ace.UnauthorizedClient, "a public client has no credentials to use"},
	{"no redirect", func(_ *world, a *attempt) { a.in.RedirectURI = "" }, ace.InvalidGrant, "another redirect_uri"},
	{"another loopback port", func(_ *world, a *attempt) { a.in.RedirectURI = "http://127.0.0.1:1/callback" }, ace.InvalidGrant, "another redirect_uri"},
	{"no verifier", func(_ *world, a *attempt) { a.in.CodeVerifier = "" }, ace.InvalidGrant, "malformed code_verifier"},
	{"the challenge as the verifier", func(_ *world, a *attempt) { a.in.CodeVerifier = challenge }, ace.InvalidGrant, "wrong code_verifier"},
	{"a verifier too short", func(_ *world, a *attempt) { a.in.CodeVerifier = verifier[:42] }, ace.InvalidGrant, "malformed code_verifier"},
	{"a verifier too long", func(_ *world, a *attempt) { a.in.CodeVerifier = strings.Repeat("a", 129) }, ace.InvalidGrant, "malformed code_verifier"},
	{"a verifier with a space", func(_ *world, a *attempt) { a.in.CodeVerifier = verifier[:42] + " " }, ace.InvalidGrant, "malformed code_verifier"},
	{"a millisecond late", func(_ *world, a *attempt) { a.late = authz.CodeLife + time.Millisecond }, ace.InvalidGrant, "expired code"},
	{"an unknown audience", func(_ *world, a *attempt) { a.in.Audience = "dnowhere" }, ace.InvalidRequest, "unknown audience"},
	{"another audience by name", func(_ *world, a *attempt) { a.in.Audience = "door-2" }, ace.InvalidGrant, "another audience"},
	{"an unknown action", func(_ *world, a *attempt) { a.in.Scope.Words = "explode" }, ace.InvalidScope, "the device has no such action"},
	{"words without a meaning", func(_ *world, a *attempt) { a.in.Scope.Words = " " }, ace.InvalidScope, "the device has no such action"},
	{"an unknown path", func(_ *world, a *attempt) { a.in.Scope.Words = "/safe:GET" }, ace.InvalidScope, "more than was granted"},
	{"more than was agreed, in AIF", func(_ *world, a *attempt) { a.in.Scope.Rights = aif.New(unlock, disarm) }, ace.InvalidScope, "more than was granted"},
}

// newDoors is a world in which mother may unlock and view door 1, and all of door 2.
func newDoors(t *testing.T) *world {
	w := newWorld(t)
	w.client(authz.Client{ID: "mallory", AuthMethod: authz.AuthNone, RedirectURIs: []string{back}, GrantTypes: []string{authz.AuthorizationCode}, ClientMadeKeys: true})
	w.device(2, nil)
	w.give(nil, unlock, view)
	w.give(func(g *authz.Grant) { g.Device = deviceID(2) }, unlock, view, disarm)
	return w
}

// checkFlaw makes a request with these flaws and then, in time, the right one for the same code.
func checkFlaw(t *testing.T, w *world, made ...flaw) {
	t.Helper()
	code := w.code()
	a := attempt{caller: w.phone, in: redemption(code)}
	for i := range made {
		made[len(made)-1-i].make(w, &a)
	}
	before, count := w.snapshot(code), len(w.audit())
	w.clock.move(a.late)
	_, err := w.token(a.caller, a.in)
	w.refused(err, made[0].want, made[0].reason)
	w.clock.move(-a.late)
	if after := w.snapshot(code); !reflect.DeepEqual(after, before) {
		t.Errorf("the refused request changed\n%+v to\n%+v", before, after)
	}
	if n := len(w.audit()); n != count+1 {
		t.Errorf("%d audit entries for one refusal", n-count)
	}
	w.granted(w.phone, redemption(code))
}

// snapshot is everything a redemption could change.
type snapshot struct {
	Code    authz.CodeGrant
	Tokens  [][]authz.TokenRecord
	Grants  []authz.Grant
	Uploads int
}

func (w *world) snapshot(code string) snapshot {
	w.t.Helper()
	c, err := w.store.Code(w.t.Context(), hashOf(code))
	w.must(err)
	grants, err := w.store.Grants(w.t.Context(), "")
	w.must(err)
	return snapshot{c, [][]authz.TokenRecord{w.tokens(1), w.tokens(2)}, grants, len(w.courier.got())}
}

func TestOneFlawRefusesAndChangesNothing(t *testing.T) {
	w := newDoors(t)
	for _, f := range append(append([]flaw(nil), flaws...), single...) {
		t.Run(f.name, func(t *testing.T) { checkFlaw(t, w, f) })
	}
}

// TestTwoFlawsRefuseAndChangeNothing: a second flaw never hides the first, nor does it help.
func TestTwoFlawsRefuseAndChangeNothing(t *testing.T) {
	w := newDoors(t)
	for i, first := range flaws {
		for _, second := range flaws[i+1:] {
			if overrules(second, first) {
				continue
			}
			t.Run(first.name+", "+second.name, func(t *testing.T) { checkFlaw(t, w, first, second) })
		}
	}
}

// overrules reports pairs in which one flaw undoes the other: there is one caller.
func overrules(a, b flaw) bool {
	return a.name == "another client" && b.name == "a client that may not use codes"
}

// TestNobodyBurnsAnothersCode: a client that saw a code cannot use it up, however often it tries.
func TestNobodyBurnsAnothersCode(t *testing.T) {
	w := newDoors(t)
	code := w.code()
	mallory, err := w.store.Client(t.Context(), "mallory")
	w.must(err)
	for range 20 {
		_, err := w.token(mallory, redemption(code))
		w.refused(err, ace.InvalidGrant, "code of another client")
	}
	w.granted(w.phone, redemption(code))
}

func TestCodeErrorsLookAlike(t *testing.T) {
	w := newDoors(t)
	var told []string
	for _, f := range flaws {
		if f.want != ace.InvalidGrant {
			continue
		}
		a := attempt{caller: w.phone, in: redemption(w.code())}
		f.make(w, &a)
		w.clock.move(a.late)
		_, err := w.token(a.caller, a.in)
		told = append(told, err.Error())
	}
	for _, text := range told {
		if text != told[0] {
			t.Errorf("told %q, but %q for another flaw: trying tells something", text, told[0])
		}
	}
}

func TestCodeIsRedeemedOnceBy64(t *testing.T) {
	w := newDoors(t)
	code := w.code()
	errs := make([]error, 64)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() { _, errs[i] = w.token(w.phone, redemption(code)) })
	}
	all.Wait()
	won := 0
	for _, err := range errs {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, &ace.Error{Code: ace.InvalidGrant}):
			t.Errorf("got %v, want invalid_grant", err)
		}
	}
	granted, reasons := 0, map[string]int{}
	for _, e := range w.audit() {
		if e.Event == "token" && e.Result == "granted" {
			granted++
		} else if e.Event == "token" {
			reasons[e.Reason]++
		}
	}
	if won != 1 || len(w.tokens(1)) != 1 || granted != 1 || reasons["code was redeemed before"] != 63 {
		t.Errorf("%d of 64 redeemed one code; %d tokens, %d granted in the audit log, refused %v", won, len(w.tokens(1)), granted, reasons)
	}
}

// TestReplayedCode is D20: within the grace it may be a retransmission, later it is a theft with its own reason.
func TestReplayedCode(t *testing.T) {
	tests := []struct {
		name   string
		after  time.Duration
		made   []flaw
		reason string
	}{
		{"at once", 0, nil, "code was redeemed before"},
		{"at the end of the grace", authz.ReplayGrace, nil, "code was redeemed before"},
		{"a millisecond later", authz.ReplayGrace + time.Millisecond, nil, "late replay of a redeemed code"},
		{"after its own life", 24 * time.Hour, nil, "late replay of a redeemed code"},
		{"late, by another client", time.Hour, flaws[3:4], "code of another client"},
		{"late, with another verifier", time.Hour, flaws[5:6], "wrong code_verifier"},
		{"late, for another audience", time.Hour, flaws[7:8], "another audience"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newDoors(t)
			code := w.code()
			w.granted(w.phone, redemption(code))
			w.clock.move(tt.after)
			a := attempt{caller: w.phone, in: redemption(code)}
			for _, f := range tt.made {
				f.make(w, &a)
			}
			_, err := w.token(a.caller, a.in)
			w.refused(err, ace.InvalidGrant, tt.reason)
		})
	}
}

// TestReplayAfterTheGrantEnded: that the grant has ended as well does not hide the replay.
func TestReplayAfterTheGrantEnded(t *testing.T) {
	w := newWorld(t)
	g := w.give(nil, unlock)
	code := w.code()
	w.granted(w.phone, redemption(code))
	_, err := w.server.Revoke(t.Context(), g.ID)
	w.must(err)
	w.clock.move(2 * authz.ReplayGrace)
	_, err = w.token(w.phone, redemption(code))
	w.refused(err, ace.InvalidGrant, "late replay of a redeemed code")
}

func TestGrantEndsBetweenCodeAndToken(t *testing.T) {
	tests := []struct {
		name string
		end  func(w *world, g authz.Grant)
		want string
	}{
		{"revoked", func(w *world, g authz.Grant) {
			_, err := w.server.Revoke(w.t.Context(), g.ID)
			w.must(err)
		}, "the grant was revoked"},
		{"ended", func(w *world, _ authz.Grant) { w.clock.move(30 * time.Second) }, "the grant has ended"},
		{"used up", func(w *world, g authz.Grant) { w.must(w.store.Spend(w.t.Context(), g.ID, unlock)) }, "the grant is used up"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			g := w.give(func(g *authz.Grant) { g.Until, g.Once = evening.Add(30*time.Second), true }, unlock)
			code := w.code()
			tt.end(w, g)
			_, err := w.token(w.phone, redemption(code))
			w.refused(err, ace.InvalidScope, tt.want)
			if n := len(w.tokens(1)); n != 0 {
				t.Errorf("%d tokens", n)
			}
			row, err := w.store.Code(t.Context(), hashOf(code))
			if err != nil || !row.ConsumedAt.IsZero() {
				t.Errorf("the refusal spent the code: %+v, %v", row, err)
			}
		})
	}
}

// TestAnotherGrantStandsIn: what mother holds twice she keeps when one ends; the token names the one that is left.
func TestAnotherGrantStandsIn(t *testing.T) {
	w := newWorld(t)
	first := w.give(nil, unlock)
	second := w.give(func(g *authz.Grant) { g.Until = evening.Add(time.Hour) }, unlock, view)
	code := w.ask("mother", func() authz.AuthorizeRequest {
		r := question()
		r.Scope = "unlock"
		return r
	}()).Get("code")
	_, err := w.server.Revoke(t.Context(), first.ID)
	w.must(err)
	w.granted(w.phone, redemption(code))
	if got := w.tokens(1); len(got) != 1 || got[0].Grant != second.ID {
		t.Errorf("tokens %+v, want one of grant %x", got, second.ID)
	}
}

// TestClientCredentials: a client acting for nobody has what was given to it, below its ceiling, and nothing by owning.
func TestClientCredentials(t *testing.T) {
	w := newWorld(t)
	_, err := w.token(w.gateway, own(1))
	w.refused(err, ace.InvalidScope, "no grant")
	w.give(nil, unlock) // mother's
	_, err = w.token(w.gateway, own(1))
	w.refused(err, ace.InvalidScope, "no grant")
	g := w.give(toGateway, view, unlock)
	out := w.granted(w.gateway, own(1))
	if out.Scope.Words != "unlock view" || out.TokenType != ace.TokenTypePoP || out.ExpiresIn != time.Hour || out.Profile != pop.ProfileCoAPOSCORE {
		t.Errorf("got scope %q, type %v, life %v, profile %v", out.Scope.Words, out.TokenType, out.ExpiresIn, out.Profile)
	}
	_, err = w.token(w.gateway, &ace.TokenRequest{GrantType: authz.ClientCredentials})
	w.refused(err, ace.InvalidRequest, "audience is missing: name the device")
	barred := w.gateway
	barred.Ceiling = []string{"view", "nonsense", "/elsewhere:GET"}
	if out := w.granted(barred, own(1)); out.Scope.Words != "view" {
		t.Errorf("above the ceiling: %q", out.Scope.Words)
	}
	asked := own(1)
	asked.Scope.Words = "unlock"
	_, err = w.token(barred, asked)
	w.refused(err, ace.InvalidScope, "the client may never ask for this")
	_, err = w.server.Revoke(t.Context(), g.ID)
	w.must(err)
	_, err = w.token(w.gateway, own(1))
	w.refused(err, ace.InvalidScope, "no grant")
}

// TestOwnerNamedLikeAClient: the subject of client credentials is a client, even if the owner bears its name.
func TestOwnerNamedLikeAClient(t *testing.T) {
	w := newWorld(t)
	w.device(2, func(d *authz.Device) { d.Owner = "gateway" })
	_, err := w.token(w.gateway, own(2))
	w.refused(err, ace.InvalidScope, "no grant")
}

// TestScopeAnswers: words are answered with words, AIF that was granted as asked with nothing.
func TestScopeAnswers(t *testing.T) {
	w := newWorld(t)
	w.give(toGateway, view, unlock, configure)
	tests := []struct {
		name  string
		asked ace.Scope
		want  ace.Scope
	}{
		{"nothing asked", ace.Scope{}, ace.Scope{Words: "unlock view configure"}},
		{"names", ace.Scope{Words: "view unlock"}, ace.Scope{Words: "unlock view"}},
		{"a path that has a name", ace.Scope{Words: "/door:GET"}, ace.Scope{Words: "view"}},
		{"a part of an action", ace.Scope{Words: "/config:GET"}, ace.Scope{Words: "/config:GET"}},
		{"AIF", ace.Scope{Rights: aif.New(view)}, ace.Scope{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := own(1)
			in.Scope = tt.asked
			if got := w.granted(w.gateway, in).Scope; !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// TestTwoAudiencesNeverShareAKey is T-9200-3: every token has its own key and its own id.
func TestTwoAudiencesNeverShareAKey(t *testing.T) {
	w := newWorld(t)
	w.device(2, nil)
	w.give(toGateway, view)
	w.give(func(g *authz.Grant) { toGateway(g); g.Device = deviceID(2) }, view)
	var keys, ids [][]byte
	for i := range 40 {
		m := w.granted(w.gateway, own(byte(1+i%2))).Cnf.OSCORE
		for n := range keys {
			if bytes.Equal(keys[n], m.MasterSecret) || bytes.Equal(ids[n], m.ID) {
				t.Fatalf("token %d has the key or the id of token %d", i, n)
			}
		}
		if len(m.MasterSecret) != 16 || len(m.ID) != 8 {
			t.Fatalf("a key of %d bytes with an id of %d", len(m.MasterSecret), len(m.ID))
		}
		keys, ids = append(keys, m.MasterSecret), append(ids, m.ID)
	}
}
