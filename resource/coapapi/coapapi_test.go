package coapapi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop"
	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/resource/coapapi"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

func with(m message.Message, id message.OptionID, value string) message.Message {
	m.Options = append(message.Options{}, m.Options...).Add(message.Option{ID: id, Value: []byte(value)})
	return m
}

func TestStrangers(t *testing.T) {
	request := func(code codes.Code, path string, format message.MediaType, payload string) message.Message {
		return coapsec.NewRequest(code, path, format, []byte(payload))
	}
	tests := []struct {
		name    string
		request message.Message
		want    codes.Code
	}{
		{"reading authz-info", request(codes.GET, "/authz-info", coapsec.NoFormat, ""), codes.MethodNotAllowed},
		{"putting authz-info", request(codes.PUT, "/authz-info", ace.FormatACE, "x"), codes.MethodNotAllowed},
		{"deleting authz-info", request(codes.DELETE, "/authz-info", coapsec.NoFormat, ""), codes.MethodNotAllowed},
		{"a bare CWT", request(codes.POST, "/authz-info", ace.FormatCWT, "x"), codes.UnsupportedMediaType},
		{"no content format", request(codes.POST, "/authz-info", coapsec.NoFormat, "x"), codes.UnsupportedMediaType},
		{"what is no map", request(codes.POST, "/authz-info", ace.FormatACE, "x"), codes.BadRequest},
		{"an empty map", request(codes.POST, "/authz-info", ace.FormatACE, "\xa0"), codes.BadRequest},
		{"an answer in another format", with(request(codes.POST, "/authz-info", ace.FormatACE, "\xa0"), message.Accept, "\x3c"), codes.NotAcceptable},
		{"too long an upload", request(codes.POST, "/authz-info", ace.FormatACE, string(make([]byte, coapapi.MaxUpload+1))), codes.RequestEntityTooLarge},
		{"discovery", request(codes.GET, "/.well-known/core", coapsec.NoFormat, ""), codes.Content},
		{"writing discovery", request(codes.POST, "/.well-known/core", coapsec.NoFormat, ""), codes.MethodNotAllowed},
		{"an action", unlock, codes.Unauthorized},
		{"what does not exist", request(codes.GET, "/secret", coapsec.NoFormat, ""), codes.Unauthorized},
		{"the server's news", request(codes.POST, "/lk/news", ace.FormatCBOR, "x"), codes.Unauthorized},
		{"the server's log", request(codes.GET, "/lk/log", coapsec.NoFormat, ""), codes.Unauthorized},
		{"an unknown critical option", with(unlock, 65001, "x"), codes.BadOption},
		{"a condition", with(unlock, message.IfMatch, ""), codes.BadOption},
		{"a proxy's option", with(unlock, 35, "coap://x/"), codes.ProxyingNotSupported},
		{"an unknown elective option", with(unlock, 65000, "x"), codes.Unauthorized},
		{"observing", with(request(codes.GET, "/door", coapsec.NoFormat, ""), message.Observe, ""), codes.Unauthorized},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDoor(t)
			answer := d.plain(tt.request)
			if answer.Code != tt.want {
				t.Errorf("got %v, want %v", answer.Code, tt.want)
			}
			if answer.Options.HasOption(message.Observe) {
				t.Error("an observation was begun")
			}
			d.wantOpened(0)
		})
	}
}

func TestHintsTellNothingAboutPaths(t *testing.T) {
	d := newDoor(t)
	known := d.plain(coapsec.NewRequest(codes.GET, "/door", coapsec.NoFormat, nil))
	unknown := d.plain(coapsec.NewRequest(codes.GET, "/cellar", coapsec.NoFormat, nil))
	if fmt.Sprintf("%v%x", known.Options, known.Payload) != fmt.Sprintf("%v%x", unknown.Options, unknown.Payload) {
		t.Errorf("%x for a path that exists, %x for one that does not", known.Payload, unknown.Payload)
	}
	hints, err := ace.ParseCreationHints(known.Payload)
	if err != nil || hints.AS != "https://as.example/token" || hints.Audience != d.device.Audience() || hints.CNonce != nil {
		t.Errorf("got %+v, %v", hints, err)
	}
	core := d.plain(coapsec.NewRequest(codes.GET, "/.well-known/core", coapsec.NoFormat, nil))
	if string(core.Payload) != `</authz-info>;rt="ace.ai"` {
		t.Errorf("got %s", core.Payload)
	}
}

// TestNonceFromHintsOpens is the way of a phone to a device that demands a cnonce: upload, hints, new token, upload.
func TestNonceFromHintsOpens(t *testing.T) {
	d := newDoor(t)
	d.device.RequireCNonce = true
	d.start()
	answer := d.plain(uploadRequest(t, upload(d.seal(d.claims()))))
	hints, err := ace.ParseCreationHints(answer.Payload)
	if answer.Code != codes.Unauthorized || err != nil || hints.CNonce == nil {
		t.Fatalf("got %v %+v, %v, want 4.01 with a nonce", answer.Code, hints, err)
	}
	c := d.claims()
	c.CNonce = hints.CNonce
	wants(t, coapsec.Secure(d, enter(t, d, c, d.seal(c))), unlock, codes.Changed)
}

func TestFloodIsSlowedDownPerHost(t *testing.T) {
	d := newDoor(t)
	now := time.Now()
	api := coapapi.New(d.server, coapapi.Options{Now: func() time.Time { return now }})
	ask := func(address string) codes.Code {
		return api.Plain().ServeCoAP(context.Background(), &coapsec.Request{Message: unlock, Peer: coapsec.Peer{Address: address}}).Code
	}
	for i := range coapapi.SourceRate {
		if got := ask(fmt.Sprintf("192.0.2.9:%d", 1000+i)); got != codes.Unauthorized {
			t.Fatalf("request %d: got %v", i, got)
		}
	}
	for address, want := range map[string]codes.Code{
		"192.0.2.9:1":          codes.TooManyRequests,
		"[::ffff:192.0.2.9]:1": codes.TooManyRequests,
		"192.0.2.10:1":         codes.Unauthorized,
		"gatt:1":               codes.Unauthorized,
	} {
		if got := ask(address); got != want {
			t.Errorf("%s: got %v, want %v", address, got, want)
		}
	}
	now = now.Add(coapapi.SourceWindow / coapapi.SourceRate)
	if first, second := ask("192.0.2.9:1"), ask("192.0.2.9:1"); first != codes.Unauthorized || second != codes.TooManyRequests {
		t.Errorf("after three seconds: got %v and %v, want one request", first, second)
	}
	for i := range coapapi.MaxSources {
		now = now.Add(time.Millisecond)
		ask(fmt.Sprintf("[2001:db8:0:%x::1]:1", i))
	}
	if got := ask("192.0.2.9:1"); got != codes.Unauthorized {
		t.Errorf("the oldest source was not forgotten: %v", got)
	}
	for range coapapi.SourceRate {
		ask("[2001:db8:0:1::1]:1")
	}
	if got := ask("[2001:db8:0:1::2]:1"); got != codes.TooManyRequests {
		t.Errorf("another address of the same link: got %v", got)
	}
}

// TestFloodOfUploadsFromMadeUpSources: a source is what a datagram says, and a link by radio can be opened anew at will.
func TestFloodOfUploadsFromMadeUpSources(t *testing.T) {
	d := newDoor(t)
	now := time.Now()
	api := coapapi.New(d.server, coapapi.Options{Now: func() time.Time { return now }})
	post := func(address string) codes.Code {
		request := &coapsec.Request{Message: uploadRequest(t, upload([]byte("x"))), Peer: coapsec.Peer{Address: address}}
		return api.Plain().ServeCoAP(context.Background(), request).Code
	}
	got := map[codes.Code]int{}
	for i := range 10 * coapapi.UploadRate {
		got[post(fmt.Sprintf("gatt:%d", i))]++
	}
	if got[codes.BadRequest] != coapapi.UploadRate || got[codes.TooManyRequests] != 9*coapapi.UploadRate {
		t.Errorf("got %v, want %d uploads looked at", got, coapapi.UploadRate)
	}
	now = now.Add(time.Second)
	if first := post("192.0.2.9:1"); first != codes.BadRequest {
		t.Errorf("a second later: got %v", first)
	}
}

func TestTokenHolders(t *testing.T) {
	d := newDoor(t)
	c := d.claims()
	c.Scope = c.Scope[1:] // unlock only
	x := coapsec.Secure(d, enter(t, d, c, d.seal(c)))
	tests := []struct {
		name    string
		request message.Message
		want    codes.Code
		payload string
	}{
		{"the action", unlock, codes.Changed, ""},
		{"another method", coapsec.NewRequest(codes.GET, "/door/unlock", coapsec.NoFormat, nil), codes.MethodNotAllowed, ""},
		{"another action", coapsec.NewRequest(codes.GET, "/door", coapsec.NoFormat, nil), codes.Forbidden, ""},
		{"what does not exist", coapsec.NewRequest(codes.GET, "/cellar", coapsec.NoFormat, nil), codes.Forbidden, ""},
		{"a query", with(unlock, message.URIQuery, "force"), codes.Forbidden, ""},
		{"a path that must not be joined", with(unlock, message.URIPath, ".."), codes.Forbidden, ""},
		{"an unknown critical option", with(unlock, 65001, "x"), codes.BadOption, ""},
		{"a condition", with(unlock, message.IfNoneMatch, ""), codes.BadOption, ""},
		{"the server's news", coapsec.NewRequest(codes.POST, "/lk/news", ace.FormatCBOR, []byte("x")), codes.Forbidden, ""},
		{"the server's log", coapsec.NewRequest(codes.GET, "/lk/log", coapsec.NoFormat, nil), codes.Forbidden, ""},
		{"an update of rights", uploadRequest(t, ace.AuthzInfo{Token: d.seal(d.claims())}), codes.Unauthorized, ""},
		{"discovery", coapsec.NewRequest(codes.GET, "/.well-known/core", coapsec.NoFormat, nil), codes.Forbidden, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			answer := wants(t, x, tt.request, tt.want)
			if string(answer.Payload) != tt.payload {
				t.Errorf("got %q, want %q", answer.Payload, tt.payload)
			}
		})
	}
	d.wantOpened(1)
}

func TestReadingIgnoresObserve(t *testing.T) {
	d := newDoor(t)
	c := d.claims()
	x := coapsec.Secure(d, enter(t, d, c, d.seal(c)))
	look := with(coapsec.NewRequest(codes.GET, "/door", coapsec.NoFormat, nil), message.Observe, "")
	answer := wants(t, x, look, codes.Content)
	format, err := answer.Options.ContentFormat()
	if string(answer.Payload) != "locked" || err != nil || format != message.TextPlain || answer.Options.HasOption(message.Observe) {
		t.Errorf("got %v %q", answer.Options, answer.Payload)
	}
}

// recorder keeps the datagrams that pass.
type recorder struct {
	next     coapsec.Exchanger
	requests []message.Message
}

func (r *recorder) Exchange(ctx context.Context, m message.Message) (message.Message, error) {
	r.requests = append(r.requests, m)
	return r.next.Exchange(ctx, m)
}

// TestDelayedUnlockIsChallenged: whoever holds back an unlock until the lock has restarted gets a question, not an open
// door; the phone, asked again, can answer it; and a replay of either message moves nothing.
func TestDelayedUnlockIsChallenged(t *testing.T) {
	d := newDoor(t)
	c := d.claims()
	phone := enter(t, d, c, d.seal(c))
	delayed, _, err := phone.ProtectRequest(unlock)
	if err != nil {
		t.Fatal(err)
	}
	d.start()
	d.learn()
	if answer := d.plain(delayed); !answer.Options.HasOption(9) {
		t.Errorf("got %v, want a protected challenge", answer.Code)
	}
	d.wantOpened(0)
	wire := &recorder{next: d}
	wants(t, coapsec.Secure(wire, phone), unlock, codes.Changed)
	d.wantOpened(1)
	if len(wire.requests) != 2 {
		t.Errorf("%d requests, want one and its repetition with the Echo", len(wire.requests))
	}
	for _, m := range append(wire.requests, delayed) {
		d.plain(m)
	}
	d.wantOpened(1)
}

func TestUsedIsSaidOnce(t *testing.T) {
	d := newDoor(t)
	c := d.claims()
	c.Scope, c.Grant.Once = c.Scope[1:], []uint{0}
	token := d.seal(c)
	x := coapsec.Secure(d, enter(t, d, c, token))
	wants(t, x, unlock, codes.Changed)
	if answer := wants(t, x, unlock, codes.Forbidden); string(answer.Payload) != "used" {
		t.Errorf("got %q", answer.Payload)
	}
	if answer := d.plain(uploadRequest(t, upload(token))); answer.Code != codes.Forbidden || len(answer.Payload) > 0 {
		t.Errorf("got %v %q, want a bare 4.03", answer.Code, answer.Payload)
	}
	d.start()
	var hint *coapsec.UnprotectedError
	if _, err := x.Exchange(context.Background(), unlock); !errors.As(err, &hint) || hint.Code != codes.Unauthorized {
		t.Errorf("got %v, want an unprotected 4.01: the key is gone", err)
	}
	d.wantOpened(1)
}

func TestUploadInBlocks(t *testing.T) {
	d := newDoor(t)
	c := d.claims()
	in := upload(d.seal(c))
	whole := uploadRequest(t, in)
	var answer message.Message
	for number := 0; number*64 < len(whole.Payload); number++ {
		part := whole
		rest := whole.Payload[number*64:]
		part.Payload = rest[:min(64, len(rest))]
		value := byte(number<<4 | 2)
		if len(rest) > 64 {
			value |= 8
		}
		answer = d.plain(with(part, message.Block1, string([]byte{value})))
	}
	if answer.Code != codes.Created {
		t.Fatalf("got %v", answer.Code)
	}
	wants(t, coapsec.Secure(d, contextOf(t, c, in, answer.Payload)), unlock, codes.Changed)
}

func TestRefusalsAreBare(t *testing.T) {
	d := newDoor(t)
	expired := d.claims()
	expired.Expires = time.Now().Add(-time.Second)
	foreign := d.claims()
	foreign.Audience = "daaaaaaaaaaaaa"
	for _, token := range [][]byte{d.seal(expired), d.seal(foreign)} {
		answer := d.plain(uploadRequest(t, upload(token)))
		if len(answer.Payload) > 0 || bytes.Contains(fmt.Append(nil, answer.Options), []byte("exp")) {
			t.Errorf("%v says %q about a token to a stranger", answer.Code, answer.Payload)
		}
	}
}

// FuzzStranger sends anything to anywhere without protection: the bolt never moves and every answer has a code.
func FuzzStranger(f *testing.F) {
	d := newDoor(f)
	good, err := upload(d.seal(d.claims())).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(byte(codes.POST), "/authz-info", uint16(ace.FormatACE), good)
	f.Add(byte(codes.GET), "/.well-known/core", uint16(coapsec.NoFormat), []byte{})
	f.Add(byte(codes.POST), "/door/unlock", uint16(coapsec.NoFormat), []byte{})
	now := time.Now()
	f.Fuzz(func(t *testing.T, code byte, path string, format uint16, payload []byte) {
		now = now.Add(time.Minute)
		api := coapapi.New(d.server, coapapi.Options{Now: func() time.Time { return now }})
		m := coapsec.NewRequest(codes.Code(code), path, message.MediaType(format), payload)
		if answer := api.Plain().ServeCoAP(context.Background(), &coapsec.Request{Message: m}); answer.Code < codes.Created {
			t.Errorf("got code %d", answer.Code)
		}
		if d.opened.Load() != 0 {
			t.Error("the bolt moved")
		}
	})
}

// TestUpdateWithinTheContext is RFC 9203 §4.4: the token alone, in Content-Format 19 and under the context, is answered 2.01
// without a payload; in clear, or under another key's context, it is refused.
func TestUpdateWithinTheContext(t *testing.T) {
	d := newDoor(t)
	first, other := d.claims(), d.claims()
	conn := coapsec.Secure(d, enter(t, d, first, d.seal(first)))
	stranger := coapsec.Secure(d, enter(t, d, other, d.seal(other)))
	update := d.claims()
	update.Scope = update.Scope[:1] // view only
	update.Grant = first.Grant
	update.Confirmation = pop.Confirmation{KeyID: first.Confirmation.OSCORE.ID}
	token := d.seal(update)
	wants(t, conn, unlock, codes.Changed)
	wants(t, stranger, uploadRequest(t, ace.AuthzInfo{Token: token}), codes.Unauthorized)
	plain := coapsec.NewRequest(codes.POST, ace.PathAuthzInfo, ace.FormatACE, uploadRequest(t, ace.AuthzInfo{Token: token}).Payload)
	if answer := d.plain(plain); answer.Code != codes.BadRequest {
		t.Errorf("in clear: %v", answer.Code)
	}
	wants(t, conn, unlock, codes.Changed)
	answer := wants(t, conn, uploadRequest(t, ace.AuthzInfo{Token: token}), codes.Created)
	if len(answer.Payload) != 0 {
		t.Errorf("answered with %x", answer.Payload)
	}
	wants(t, conn, unlock, codes.Forbidden)
	wants(t, conn, coapsec.NewRequest(codes.GET, "/door", coapsec.NoFormat, nil), codes.Content)
	wants(t, stranger, unlock, codes.Changed)
	d.wantOpened(3)
}
