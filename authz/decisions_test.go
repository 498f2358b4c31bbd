package authz_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/ace"
)

// TestDecisionsAreCounted makes decisions of every kind a known number of times: there are as many rows of each, no more and
// no fewer, and the log they stand in is whole.
func TestDecisionsAreCounted(t *testing.T) {
	w, want := newWorld(t), map[string]int{}
	ctx := t.Context()
	made := func(event, result string) { want[event+" "+result]++ }
	var last authz.Grant
	for range 3 {
		last = w.give(nil, unlock, view)
		made("grant.add", "granted")
	}
	w.give(toGateway, view)
	made("grant.add", "granted")
	for i := range 4 {
		code := w.code()
		made("authorize", "granted")
		wrong := redemption(code)
		wrong.CodeVerifier = challenge
		_, _ = w.token(w.phone, wrong)
		made("token", "refused")
		w.granted(w.phone, redemption(code))
		made("token", "granted")
		_, _ = w.token(w.phone, redemption(code))
		made("token", "refused")
		w.granted(w.gateway, own(1))
		made("token", "granted")
		w.clock.move(time.Duration(i) * time.Second)
	}
	w.decide(made)
	w.courier.answer = func(context.Context) ([]byte, error) { return nil, errors.New("4.01") }
	w.granted(w.gateway, uploading(1, ptr(ace.UploadWantToken)))
	made("token", "granted")
	made("upload", "refused")
	w.server.ClientRefused(ctx, "gateway", "")
	made("client", "refused")
	for _, p := range []authz.Party{{Client: "phone"}, {User: "mother"}, {Device: deviceID(1)}, {Grant: last.ID}} {
		kind := map[bool]string{p.Client != "": "client", p.User != "": "user", p.Device == deviceID(1): "device", p.Grant == last.ID: "grant"}[true]
		w.must(w.server.Suspend(ctx, p, "why"))
		made(kind+".suspend", "granted")
		w.must(w.server.Resume(ctx, p, "why not"))
		made(kind+".resume", "granted")
		_, err := w.server.EndTokens(ctx, p)
		w.must(err)
		made(kind+".end", "granted")
	}
	_, err := w.server.Revoke(ctx, last.ID)
	w.must(err)
	made("grant.revoke", "granted")

	got := map[string]int{}
	for _, e := range w.audit() {
		got[e.Event+" "+e.Result]++
	}
	if !maps.Equal(got, want) {
		t.Errorf("on record are %v\nmade were  %v", got, want)
	}
	total := 0
	for _, n := range want {
		total += n
	}
	if report, err := w.store.VerifyAudit(ctx); err != nil || report.Entries != total {
		t.Errorf("got %d entries, %v, want %d", report.Entries, err, total)
	}
}

// decide lets a person say no, and apps ask for what they cannot have.
func (w *world) decide(made func(event, result string)) {
	ctx := w.t.Context()
	for i := range 2 {
		a, err := w.server.Authorize(ctx, question())
		w.must(err)
		w.server.Deny(ctx, a, "mother")
		made("authorize", "refused")
		_, err = w.server.Approve(ctx, a, fmt.Sprint("stranger ", i))
		w.must(err)
		made("authorize", "refused")
	}
	elsewhere := question()
	elsewhere.RedirectURI = "https://evil.example"
	if _, err := w.server.Authorize(ctx, elsewhere); err == nil {
		w.t.Error("sent elsewhere")
	}
	made("authorize", "refused")
	plain := question()
	plain.CodeChallengeMethod = "plain"
	if _, err := w.server.Authorize(ctx, plain); err == nil {
		w.t.Error("PKCE in clear")
	}
	made("authorize", "refused")
}
