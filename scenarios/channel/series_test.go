package channel_test

import (
	"testing"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/latchkey-ace/latchkey/pop/provision"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// token asks the server over the client's channel.
func (h *house) token(in ace.TokenRequest) *ace.TokenResponse {
	h.t.Helper()
	in.GrantType, in.Audience = ace.GrantClientCredentials, "front-door"
	payload, err := in.CBOR()
	if err != nil {
		h.t.Fatal(err)
	}
	answer, err := h.phone.Exchange(h.t.Context(), h.phoneEnd.To(h.endpoint.LocalAddr()), coapsec.NewRequest(codes.POST, ace.PathToken, ace.FormatACE, payload))
	if err != nil {
		h.t.Fatal(err)
	}
	out, err := ace.ParseTokenResponseCBOR(answer.Payload)
	if err != nil {
		h.t.Fatalf("%v: %v", answer.Code, err)
	}
	return out
}

// show uploads a token in clear and makes the context.
func (h *house) show(out *ace.TokenResponse) coapsec.Exchanger {
	h.t.Helper()
	in := ace.AuthzInfo{Token: out.AccessToken, Nonce1: []byte("nonce001"), ClientRecipientID: []byte{9}}
	reply := h.upload(h.phoneEnd.To(h.lock.endpoint.LocalAddr()), in)
	if reply.Code != codes.Created {
		h.t.Fatalf("upload: %v", reply.Code)
	}
	answer, err := ace.ParseAuthzInfoAnswer(reply.Payload)
	if err != nil {
		h.t.Fatal(err)
	}
	c, err := oscore.New(oscore.Params{
		MasterSecret: out.Cnf.OSCORE.MasterSecret, MasterSalt: pop.MasterSalt(nil, in.Nonce1, answer.Nonce2),
		SenderID: answer.ServerRecipientID, RecipientID: in.ClientRecipientID,
	}, oscore.Options{})
	if err != nil {
		h.t.Fatal(err)
	}
	return coapsec.Secure(h.phoneEnd.To(h.lock.endpoint.LocalAddr()), c)
}

func (h *house) upload(by coapsec.Exchanger, in ace.AuthzInfo) message.Message {
	h.t.Helper()
	payload, err := in.Encode()
	if err != nil {
		h.t.Fatal(err)
	}
	answer, err := by.Exchange(h.t.Context(), coapsec.NewRequest(codes.POST, ace.PathAuthzInfo, ace.FormatACE, payload))
	if err != nil {
		h.t.Fatal(err)
	}
	return answer
}

// TestUpdateOfRights: the client gets new rights for the key it has, and the lock takes them under that key's context alone; in
// clear and after another start of the server too (RFC 9203 §3.2, §4.4).
func TestUpdateOfRights(t *testing.T) {
	for _, shape := range []provision.Shape{provision.ShapeEncrypt0, provision.ShapeSign1} {
		t.Run(shape.String(), func(t *testing.T) {
			h := newHouseOf(t, func(d *authz.Device) { d.Shape = shape })
			h.lock.register()
			h.give(false, "unlock", "view")
			first := h.token(ace.TokenRequest{Scope: ace.Scope{Words: "view"}})
			kid := &pop.Confirmation{KeyID: first.Cnf.OSCORE.ID}
			key := h.show(first)
			h.wants(key, codes.Forbidden)
			h.restartServer()
			h.lock.register()
			update := h.token(ace.TokenRequest{ReqCnf: kid, Scope: ace.Scope{Words: "unlock view"}})
			if update.Cnf != nil || update.AccessToken == nil {
				t.Fatalf("cnf %v, token of %d bytes", update.Cnf, len(update.AccessToken))
			}
			clear := h.phoneEnd.To(h.lock.endpoint.LocalAddr())
			for name, in := range map[string]ace.AuthzInfo{
				"alone": {Token: update.AccessToken}, "with a nonce": {Token: update.AccessToken, Nonce1: []byte("nonce002"), ClientRecipientID: []byte{8}},
			} {
				if answer := h.upload(clear, in); answer.Code != codes.BadRequest {
					t.Errorf("in clear, %s: %v", name, answer.Code)
				}
			}
			h.wants(key, codes.Forbidden)
			if answer := h.upload(key, ace.AuthzInfo{Token: update.AccessToken}); answer.Code != codes.Created || len(answer.Payload) != 0 {
				t.Fatalf("under the context: %v with %d bytes", answer.Code, len(answer.Payload))
			}
			h.wants(key, codes.Changed)
			narrower := h.token(ace.TokenRequest{ReqCnf: kid, Scope: ace.Scope{Words: "view"}})
			if answer := h.upload(key, ace.AuthzInfo{Token: narrower.AccessToken}); answer.Code != codes.Created {
				t.Fatalf("narrower: %v", answer.Code)
			}
			h.wants(key, codes.Forbidden)
			if answer := h.upload(key, ace.AuthzInfo{Token: update.AccessToken}); answer.Code != codes.Unauthorized {
				t.Errorf("the wider one again: %v", answer.Code)
			}
			h.wants(key, codes.Forbidden)
			if n := h.lock.opened.Load(); n != 1 {
				t.Errorf("the bolt moved %d times", n)
			}
		})
	}
}

// TestLockAsks: the token says nothing, the lock asks the server about it over their channel. A revoked one is refused at once,
// and so is every one while the server is away (9200-RS-17).
func TestLockAsks(t *testing.T) {
	h := newHouseOf(t, func(d *authz.Device) { d.Delivery = authz.DeliveryIntrospect })
	h.lock.register()
	g := h.give(false, "unlock", "view")
	out := h.token(ace.TokenRequest{})
	if len(out.AccessToken) != 48 {
		t.Fatalf("a token of %d bytes", len(out.AccessToken))
	}
	h.wants(h.show(out), codes.Changed)
	clear := h.phoneEnd.To(h.lock.endpoint.LocalAddr())
	in := ace.AuthzInfo{Token: out.AccessToken, Nonce1: []byte("nonce002"), ClientRecipientID: []byte{8}}
	guess := in
	guess.Token = append(append([]byte{}, in.Token[:47]...), in.Token[47]^1)
	if answer := h.upload(clear, guess); answer.Code != codes.Unauthorized {
		t.Errorf("a guess: %v", answer.Code)
	}
	if _, err := h.server.Revoke(t.Context(), g.ID); err != nil {
		t.Fatal(err)
	}
	if answer := h.upload(clear, in); answer.Code != codes.Unauthorized {
		t.Errorf("revoked: %v", answer.Code)
	}
	_ = h.endpoint.Close()
	if answer := h.upload(clear, in); answer.Code != codes.ServiceUnavailable {
		t.Errorf("the server is away: %v", answer.Code)
	}
	if n := h.lock.opened.Load(); n != 1 {
		t.Errorf("the bolt moved %d times", n)
	}
}
