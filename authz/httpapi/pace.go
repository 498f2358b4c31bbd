package httpapi

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/httpapi/origin"
	"github.com/latchkey-ace/latchkey/authz/throttle"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/attestation"
)

// paced holds each network to a rhythm. Documents that anybody may cache are free.
func (f *face) paced(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var limited *throttle.Error
		if !free(r) && errors.As(f.server.Limits().Network(origin.From(r.Context()).Address), &limited) {
			tooMany(w, limited)
			http.Error(w, "too many requests from your network; try again later", http.StatusTooManyRequests)
			return
		}
		if len(f.options.Attesters) > 0 && r.Header.Get(attestation.HeaderAttestation) != "" {
			f.challenge(w) // for the next request
		}
		next.ServeHTTP(w, r)
	})
}

// free are documents that cost next to nothing. An issuer may have a path, so addresses are known by their end.
func free(r *http.Request) bool {
	return r.Method == http.MethodGet && !strings.HasSuffix(r.URL.Path, "/authorize") && !strings.Contains(r.URL.Path, "/register/")
}

// tooMany says how long to wait (RFC 6585 §4). A refusal must not be cached.
func tooMany(w http.ResponseWriter, e *throttle.Error) {
	w.Header().Set("Retry-After", strconv.Itoa(e.Seconds()))
	w.Header().Set("Cache-Control", "no-store")
}

// tooManyTries is tooMany for people.
func (f *face) tooManyTries(w http.ResponseWriter, e *throttle.Error) {
	tooMany(w, e)
	f.console.ShowError(w, http.StatusTooManyRequests, "There were too many tries.", "Please wait "+e.InWords()+", then go back and try again.")
}

// place is where a client's guesses come from; "" on loopback, which is not limited.
func place(r *http.Request) string {
	if from := origin.From(r.Context()).Address; from.IsValid() && !from.IsLoopback() {
		return throttle.SourceOf(from)
	}
	return ""
}

// admit counts a request of a client that was authenticated, or a wrong guess at its credentials. What is right passes
// whatever others have guessed; what is wrong is answered ever more slowly.
func (f *face) admit(r *http.Request, id string, client *authz.Client, err error) error {
	if err == nil && !client.Public() {
		return f.server.Limits().Allow(throttle.Client, client.ID)
	}
	return f.guessed(r, id, err)
}

// guesses are the answers to a wrong credential.
var guesses = []ace.ErrorCode{ace.InvalidClient, ace.InvalidGrant, ace.InvalidToken, ace.InvalidClientAttestation}

// guessed counts a wrong credential or code.
func (f *face) guessed(r *http.Request, id string, err error) error {
	var wire *ace.Error
	at := place(r)
	if at == "" || !errors.As(err, &wire) || !slices.Contains(guesses, wire.Code) {
		return err
	}
	if user, _, ok := r.BasicAuth(); ok && id == "" {
		id = user
	}
	if slow := f.server.Limits().Guess(throttle.Credential, id+" from "+at); slow != nil {
		return slow
	}
	return err
}
