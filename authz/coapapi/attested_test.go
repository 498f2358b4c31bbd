package coapapi_test

import (
	"bytes"
	"testing"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// TestNoChannelInPlaceOfAnAttestation: a client whose instances must show themselves, and which has a channel for CoAP too, gets nothing
// by the channel alone, whatever it asks with: there is no attestation over CoAP.
func TestNoChannelInPlaceOfAnAttestation(t *testing.T) {
	w := newWorld(t)
	for _, method := range []authz.AuthMethod{authz.AuthAttested, authz.AuthAttestedDPoP, authz.AuthIntegrity} {
		c := authz.Client{
			ID: string(method[:8]) + "-" + string(method[len(method)-4:]), AuthMethod: method, ClientMadeKeys: true,
			GrantTypes: []string{authz.AuthorizationCode, authz.ClientCredentials, authz.RefreshToken, authz.DeviceCodeGrant},
			Channel:    &authz.Channel{MasterSecret: bytes.Repeat([]byte(method)[len(method)-2:], 8), PeerID: []byte(method[len(method)-5:]), ServerID: []byte{1}},
			Settings:   authz.ClientSettings{Attesters: []string{"acme"}},
		}
		if err := w.store.AddClient(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if _, err := w.server.Give(t.Context(), authz.Grant{Owner: "alice", To: authz.Subject{Client: c.ID}, Device: w.record.ID, Rights: w.grant.Rights}); err != nil {
			t.Fatal(err)
		}
		by := w.caller(c)
		for name, in := range map[string]ace.TokenRequest{
			"client credentials": {Audience: "front-door"}, "a code": {GrantType: ace.GrantAuthorizationCode, Code: "any", RedirectURI: "any", CodeVerifier: "any"},
			"a refresh token": {GrantType: ace.GrantRefreshToken, RefreshToken: "any"},
		} {
			answer := by.ask(tokenRequest(encoded(t, in)))
			refused, err := ace.ParseErrorCBOR(answer.Payload)
			if answer.Code != codes.Unauthorized || err != nil || refused.Code != ace.InvalidClient {
				t.Errorf("%s, %s: %v %v", method, name, answer.Code, refused)
			}
		}
	}
}
