package client_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/client"
)

// A machine fetches a token for a device. A person's app calls Login first and hands the Code to Token.
func Example() {
	server := httptest.NewServer(nil)
	defer server.Close()
	server.Config.Handler = authorizationServer(server.URL)

	ctx := context.Background()
	c, err := client.Discover(ctx, server.URL, client.Options{ID: "nightly", Secret: "of this machine"})
	if err != nil {
		fmt.Println(err)
		return
	}
	keep := func(s client.Saved) error { return nil } // to a 0600 file, synced, before it returns
	session, err := c.Token(ctx, client.Want{Audience: "daebagbafaydqq", Scope: "/door:GET"}, keep)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(session.Saved().Scope, session.Ready()) // Deliver shows the token to the device, Do talks to it
	_, err = c.Token(ctx, client.Want{Audience: "unknown"}, keep)
	fmt.Println(err)
	// Output:
	// /door:GET false
	// invalid_request: unknown audience
}

// authorizationServer grants one device and nothing else.
func authorizationServer(issuer string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer": "%[1]s", "authorization_endpoint": "%[1]s/authorize", "token_endpoint": "%[1]s/token"}`, issuer)
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", ace.MediaTypeJSON)
		body, _ := io.ReadAll(r.Body)
		request, err := ace.ParseTokenRequestJSON(body)
		if err != nil || request.Audience != "daebagbafaydqq" {
			refusal, _ := (&ace.Error{Code: ace.InvalidRequest, Description: "unknown audience"}).JSON()
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write(refusal)
			return
		}
		answer, _ := (&ace.TokenResponse{
			AccessToken: []byte{0xd8, 0x3d, 0xd0}, ExpiresIn: time.Hour, Scope: request.Scope, Profile: pop.ProfileCoAPOSCORE,
			Cnf: &pop.Confirmation{OSCORE: &pop.InputMaterial{ID: []byte{7}, MasterSecret: make([]byte, 16)}},
		}).JSON()
		_, _ = w.Write(answer)
	})
	return mux
}
