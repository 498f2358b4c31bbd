package resource_test

import (
	"context"
	"errors"
	"testing"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/cwt"
	"github.com/latchkey-ace/latchkey/pop/news"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/latchkey-ace/latchkey/resource"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// newAskingWorld is a lock that asks about each token; say answers.
func newAskingWorld(t *testing.T, say func(ctx context.Context, token []byte) (*pop.Claims, error)) *world {
	t.Helper()
	w := newWorld(t, provision.ShapeSign1, provision.ClockSynced)
	w.options.Introspect = say
	w.start()
	w.learn()
	return w
}

// TestIntrospectedToken: what the server says is what counts, its rights, its key, its end; the token itself says nothing.
func TestIntrospectedToken(t *testing.T) {
	token := []byte("a token that says nothing itself")
	var claims *pop.Claims
	w := newAskingWorld(t, func(_ context.Context, asked []byte) (*pop.Claims, error) {
		if string(asked) != string(token) {
			return nil, resource.ErrInactive
		}
		return claims, nil
	})
	claims = w.claims()
	s := w.session(upload(token), resource.Origin{})
	d, _ := w.press(s)
	decided(t, d, 0, nil)
	decided(t, w.ask(s, codes.POST, "/alarm/disarm"), codes.Forbidden, resource.ErrPathNotCovered)
	hash := cwt.Hash(token)
	w.hear(resource.Origin{Server: true}, 1, news.HashesItem(hash[:]))
	decided(t, w.ask(s, codes.GET, "/door"), codes.Unauthorized, resource.ErrNoSession)
	_, err := w.accept(upload(token))
	refused(t, err, codes.Unauthorized, resource.ErrRevoked)
	_, err = w.accept(upload([]byte("another")))
	refused(t, err, codes.Unauthorized, resource.ErrInactive)
}

// TestAnswersAreChecked: an answer is held to the same rules as a token.
func TestAnswersAreChecked(t *testing.T) {
	var claims *pop.Claims
	w := newAskingWorld(t, func(context.Context, []byte) (*pop.Claims, error) { return claims, nil })
	for _, tt := range []struct {
		name   string
		change func(*pop.Claims)
		code   codes.Code
		reason error
	}{
		{"another audience", func(c *pop.Claims) { c.Audience = "dother" }, codes.Forbidden, resource.ErrWrongAudience},
		{"another issuer", func(c *pop.Claims) { c.Issuer = "https://other.example" }, codes.Unauthorized, resource.ErrWrongIssuer},
		{"ended", func(c *pop.Claims) { c.Expires = w.now }, codes.Unauthorized, resource.ErrExpired},
		{"unknown rights", func(c *pop.Claims) { c.Scope = aif.New(aif.Entry{Path: "/cellar", Methods: aif.GET}) }, codes.BadRequest, resource.ErrUnknownScope},
		{"another device's id", func(c *pop.Claims) { c.ID = make([]byte, 16) }, codes.Unauthorized, resource.ErrForeignID},
		{"no key", func(c *pop.Claims) { c.Confirmation = pop.Confirmation{} }, codes.BadRequest, resource.ErrBadConfirmation},
		{"a kid alone", func(c *pop.Claims) { c.Confirmation = pop.Confirmation{KeyID: []byte{1}} }, codes.BadRequest, resource.ErrBadConfirmation},
	} {
		t.Run(tt.name, func(t *testing.T) {
			claims = w.claims()
			tt.change(claims)
			_, err := w.accept(upload([]byte(tt.name)))
			refused(t, err, tt.code, tt.reason)
		})
	}
}

// TestNoAnswerNoDoor is 9200-RS-17: a server that cannot be reached, or says nothing, grants nothing, not even a token that would
// open by itself.
func TestNoAnswerNoDoor(t *testing.T) {
	away := errors.New("no route")
	w := newAskingWorld(t, func(context.Context, []byte) (*pop.Claims, error) { return nil, away })
	token := w.seal(w.claims())
	_, err := w.accept(upload(token))
	refused(t, err, codes.ServiceUnavailable, resource.ErrNoAnswer)
	refused(t, err, codes.ServiceUnavailable, away)
	away = nil
	_, err = w.accept(upload(token))
	refused(t, err, codes.ServiceUnavailable, resource.ErrNoAnswer)
}

// TestAskingIsBounded: while MaxAsking wait, the next is told to come again, and who is inside is not kept waiting (F56).
func TestAskingIsBounded(t *testing.T) {
	began, end := make(chan struct{}), make(chan struct{})
	w := newAskingWorld(t, func(context.Context, []byte) (*pop.Claims, error) {
		began <- struct{}{}
		<-end
		return nil, resource.ErrInactive
	})
	done := make(chan error, resource.MaxAsking)
	for range resource.MaxAsking {
		in := upload([]byte("x"))
		go func() {
			_, err := w.server.Accept(context.Background(), in, resource.Origin{})
			done <- err
		}()
		<-began
	}
	_, err := w.accept(upload([]byte("one more")))
	refused(t, err, codes.TooManyRequests, resource.ErrNoAnswer)
	if w.server.Standing() != (resource.Standing{}) {
		t.Error("another state")
	}
	close(end)
	for range resource.MaxAsking {
		refused(t, <-done, codes.Unauthorized, resource.ErrInactive)
	}
}
