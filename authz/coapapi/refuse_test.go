package coapapi_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/authz/delivery/deliverytest"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/aif"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// as changes a good request.
func as(m message.Message, change func(*message.Message)) message.Message {
	m.Options = append(message.Options{}, m.Options...)
	change(&m)
	return m
}

func with(m message.Message, o ...message.Option) message.Message {
	return as(m, func(m *message.Message) {
		for _, option := range o {
			m.Options = m.Options.Add(option)
		}
	})
}

func inFormat(m message.Message, format message.MediaType) message.Message {
	path, _ := (&coapsec.Request{Message: m}).Path()
	return coapsec.NewRequest(m.Code, path, format, m.Payload)
}

func method(m message.Message, code codes.Code) message.Message {
	return as(m, func(m *message.Message) { m.Code = code })
}

// knock is a request of one who may not make it.
type knock struct {
	name    string
	by      func(message.Message) message.Message
	request message.Message
	want    codes.Code
}

// byDevice asks as the lock.
func (w *world) byDevice(m message.Message) message.Message {
	w.t.Helper()
	answer, err := w.lock.Ask(w.t.Context(), w.endpoint.LocalAddr(), m)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer
}

// TestNobodyGetsPastTheDoor: each is answered with its code, nothing is minted and nobody is registered.
func TestNobodyGetsPastTheDoor(t *testing.T) {
	w := newWorld(t)
	gateway, stranger := w.caller(w.client), w.caller(w.client)
	token := tokenRequest(encoded(t, ace.TokenRequest{Audience: "front-door"}))
	register := deliverytest.RegisterRequest(t, time.Minute)
	knocks := slices.Concat(strangers(stranger.plain, token, register), devices(w.byDevice, token, register), clients(gateway.ask, token, register))
	for _, test := range knocks {
		t.Run(test.name, func(t *testing.T) {
			if answer := test.by(test.request); answer.Code != test.want || len(answer.Payload) != 0 {
				t.Errorf("got %v with %d bytes, want %v with none", answer.Code, len(answer.Payload), test.want)
			}
		})
	}
	if n := w.tokens(); n != 0 {
		t.Errorf("%d tokens were minted", n)
	}
	if got := w.registration(); !reflect.DeepEqual(got, authz.Registration{}) {
		t.Errorf("registered: %+v", got)
	}
	if answer := gateway.ask(with(token, message.Option{ID: message.Accept, Value: []byte{19}})); answer.Code != codes.Created {
		t.Errorf("the request that was changed in each row: got %v", answer.Code)
	}
}

func strangers(by func(message.Message) message.Message, token, register message.Message) []knock {
	return []knock{
		{"a stranger asks for a token", by, token, codes.Unauthorized},
		{"a stranger gets /token", by, method(token, codes.GET), codes.Unauthorized},
		{"a stranger registers", by, register, codes.Unauthorized},
		{"a stranger asks for the keys", by, coapsec.NewRequest(codes.GET, ace.PathKeys, coapsec.NoFormat, nil), codes.Unauthorized},
		{"a stranger asks for /", by, method(coapsec.NewRequest(codes.GET, "/", coapsec.NoFormat, nil), codes.GET), codes.Unauthorized},
		{"a stranger asks for what is not there", by, coapsec.NewRequest(codes.GET, "/introspect", coapsec.NoFormat, nil), codes.Unauthorized},
		{"a stranger posts to the links", by, coapsec.NewRequest(codes.POST, "/.well-known/core", coapsec.NoFormat, nil), codes.MethodNotAllowed},
	}
}

func devices(by func(message.Message) message.Message, token, register message.Message) []knock {
	return []knock{
		{"a device asks for a token", by, token, codes.Forbidden},
		{"a device gets /register", by, method(register, codes.GET), codes.MethodNotAllowed},
		{"a device registers in JSON", by, inFormat(register, message.AppJSON), codes.UnsupportedMediaType},
		{"a device registers in ace+cbor", by, inFormat(register, ace.FormatACE), codes.UnsupportedMediaType},
		{"a device registers in no format", by, inFormat(register, coapsec.NoFormat), codes.UnsupportedMediaType},
		{"a device registers if nobody has", by, with(register, message.Option{ID: message.IfNoneMatch}), codes.BadOption},
		{"a device wants an answer in ace+cbor", by, with(register, message.Option{ID: message.Accept, Value: []byte{19}}), codes.NotAcceptable},
		{"a device posts keys", by, coapsec.NewRequest(codes.POST, ace.PathKeys, ace.FormatCOSEKeySet, []byte{0x80}), codes.MethodNotAllowed},
		{"a device says nothing", by, coapsec.NewRequest(codes.POST, ace.PathRegister, ace.FormatCBOR, nil), codes.BadRequest},
		{"a device uploads", by, coapsec.NewRequest(codes.POST, ace.PathAuthzInfo, ace.FormatACE, token.Payload), codes.NotFound},
	}
}

func clients(by func(message.Message) message.Message, token, register message.Message) []knock {
	return []knock{
		{"a client registers", by, register, codes.Forbidden},
		{"a client gets /token", by, method(token, codes.GET), codes.MethodNotAllowed},
		{"a client puts /token", by, method(token, codes.PUT), codes.MethodNotAllowed},
		{"a client fetches /token", by, method(token, codes.Code(5)), codes.MethodNotAllowed},
		{"a client asks elsewhere", by, coapsec.NewRequest(codes.POST, "/token/more", ace.FormatACE, token.Payload), codes.NotFound},
		{"a client asks in CBOR", by, inFormat(token, ace.FormatCBOR), codes.UnsupportedMediaType},
		{"a client asks in JSON", by, inFormat(token, message.AppJSON), codes.UnsupportedMediaType},
		{"a client asks in no format", by, inFormat(token, coapsec.NoFormat), codes.UnsupportedMediaType},
		{"a client wants JSON", by, with(token, message.Option{ID: message.Accept, Value: []byte{50}}), codes.NotAcceptable},
		{"a client wants one format, then another", by, with(token, message.Option{ID: message.Accept, Value: []byte{19}}, message.Option{ID: message.Accept, Value: []byte{60}}), codes.BadOption},
		{"a client asks on a condition", by, with(token, message.Option{ID: message.IfNoneMatch}), codes.BadOption},
		{"a client asks on another condition", by, with(token, message.Option{ID: message.IfMatch, Value: []byte{1}}), codes.BadOption},
		{"a client names the path in a dotted way", by, with(token, message.Option{ID: message.URIPath, Value: []byte(".")}), codes.NotFound},
	}
}

func TestLinksAreForEveryone(t *testing.T) {
	w := newWorld(t)
	answer := w.caller(w.client).plain(coapsec.NewRequest(codes.GET, "/.well-known/core", coapsec.NoFormat, nil))
	format, err := answer.Options.ContentFormat()
	if answer.Code != codes.Content || err != nil || format != ace.FormatLinks || string(answer.Payload) != `</token>;ct=19,</introspect>;ct=19` {
		t.Errorf("got %s", coapsec.Describe(answer))
	}
}

func TestTokenErrors(t *testing.T) {
	w := newWorld(t)
	gateway := w.caller(w.client)
	good := encoded(t, ace.TokenRequest{Audience: "front-door"})
	raw := func(pairs ...byte) []byte { return append([]byte{0xa0 | byte(len(pairs)/2)}, pairs...) }
	tests := []struct {
		name    string
		payload []byte
		want    ace.ErrorCode
	}{
		{"nothing", nil, ace.InvalidRequest},
		{"no map", []byte{0x80}, ace.InvalidRequest},
		{"a key twice", []byte{0xa2, 0x18, 0x21, 0x02, 0x18, 0x21, 0x02}, ace.InvalidRequest},
		{"more after the end", append(bytes.Clone(good), 0), ace.InvalidRequest},
		{"no audience", raw(), ace.InvalidRequest},
		{"grant type password", []byte{0xa1, 0x18, 0x21, 0x00}, ace.UnsupportedGrantType},
		{"grant type refresh_token", []byte{0xa1, 0x18, 0x21, 0x03}, ace.UnauthorizedClient},
		{"a grant type without number", []byte{0xa1, 0x18, 0x21, 0x18, 0x63}, ace.UnsupportedGrantType},
		{"an unknown device", encoded(t, ace.TokenRequest{Audience: "nowhere"}), ace.InvalidRequest},
		{"an action that is not there", encoded(t, ace.TokenRequest{Audience: "front-door", Scope: ace.Scope{Words: "open"}}), ace.InvalidScope},
		{"more than was granted", encoded(t, ace.TokenRequest{Audience: "front-door", Scope: ace.Scope{Words: "unlock disarm"}}), ace.InvalidScope},
		{"binary scope for more than was granted", encoded(t, ace.TokenRequest{Audience: "front-door", Scope: ace.Scope{Rights: aif.New(aif.Entry{Path: "/alarm/disarm", Methods: aif.POST})}}), ace.InvalidScope},
		{"binary scope that is no AIF", []byte{0xa2, 0x05, 0x61, 'x', 0x09, 0x41, 0xff}, ace.InvalidScope},
		{"an unknown code", encoded(t, ace.TokenRequest{GrantType: ace.GrantAuthorizationCode, Code: "invented", RedirectURI: w.client.RedirectURIs[0], CodeVerifier: string(bytes.Repeat([]byte("v"), 43))}), ace.InvalidGrant},
		{"the DTLS profile", append(append([]byte{0xa2, 0x05, 0x6a}, "front-door"...), 0x18, 0x26, 0x01), ace.IncompatibleProfiles},
		{"a client secret as well", encoded(t, ace.TokenRequest{Audience: "front-door", ClientID: "gateway", ClientSecret: secret}), ace.InvalidRequest},
		{"another client's name", encoded(t, ace.TokenRequest{Audience: "front-door", ClientID: "other"}), ace.InvalidRequest},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			refusedWith(t, gateway.ask(tokenRequest(test.payload)), codes.BadRequest, test.want)
		})
	}
	refusedWith(t, gateway.ask(with(tokenRequest(good), message.Option{ID: message.URIQuery, Value: []byte("scope=disarm")})), codes.BadRequest, ace.InvalidRequest)
	if n := w.tokens(); n != 0 {
		t.Errorf("%d tokens were minted", n)
	}
}

func TestStrangersWithAKidGetNothing(t *testing.T) {
	w := newWorld(t)
	unknown, forged := w.client, w.client
	channel := *w.client.Channel
	channel.PeerID = []byte("nobody")
	unknown.Channel = &channel
	wrong := *w.client.Channel
	wrong.MasterSecret = make([]byte, 16)
	_, _ = rand.Read(wrong.MasterSecret)
	forged.Channel = &wrong
	lock := w.client
	lock.Channel = &authz.Channel{MasterSecret: wrong.MasterSecret, PeerID: w.record.SenderID, ServerID: []byte{0}}
	for name, test := range map[string]struct {
		client authz.Client
		want   codes.Code
	}{
		"a kid that nobody has":        {unknown, codes.Unauthorized},
		"a client's, with a wrong key": {forged, codes.BadRequest},
		"a lock's, with a wrong key":   {lock, codes.BadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			c := w.caller(test.client)
			_, err := c.channel.Exchange(t.Context(), c.endpoint.To(w.endpoint.LocalAddr()), tokenRequest(encoded(t, ace.TokenRequest{Audience: "front-door"})))
			var unprotected *coapsec.UnprotectedError
			if !errors.As(err, &unprotected) || unprotected.Code != test.want {
				t.Errorf("got %v, want an unprotected %v", err, test.want)
			}
		})
	}
	if n := w.tokens(); n != 0 {
		t.Errorf("%d tokens were minted", n)
	}
}

// partial is a store that has lost its clients.
type partial struct {
	authz.Store
	err error
}

func (p *partial) Client(context.Context, string) (authz.Client, error) {
	return authz.Client{}, p.err
}

func TestClientThatIsNotRegisteredAnyMore(t *testing.T) {
	w := newWorld(t)
	store := &partial{w.store, authz.ErrNotFound}
	_ = w.endpoint.Close()
	w.serve("", store)
	gateway := w.caller(w.client)
	request := tokenRequest(encoded(t, ace.TokenRequest{Audience: "front-door"}))
	refusedWith(t, gateway.ask(request), codes.Unauthorized, ace.InvalidClient)
	store.err = errors.New("the disk failed, and nobody outside needs to know")
	if answer := gateway.ask(request); answer.Code != codes.InternalServerError || len(answer.Payload) != 0 {
		t.Errorf("got %s, want a bare 5.00", coapsec.Describe(answer))
	}
}
