package cli_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/oscore"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// granted are the decisions of the audit log that gave something.
func (h *house) granted() string {
	h.t.Helper()
	var lines []struct{ Event, Result string }
	if err := json.Unmarshal([]byte(h.must("", "latchkey", "audit", "tail", "--json")), &lines); err != nil {
		h.t.Fatal(err)
	}
	all := ""
	for _, line := range lines {
		if line.Result == "granted" {
			all += line.Event + "\n"
		}
	}
	return all
}

// TestBadHTTP sends the running server what it must refuse; it records refusals and nothing else.
func TestBadHTTP(t *testing.T) {
	s := newStreet(t)
	authorize := func(change ...string) string {
		q := url.Values{
			"response_type": {"code"}, "client_id": {"phone"}, "redirect_uri": {"http://127.0.0.1/callback"}, "audience": {"front-door"},
			"code_challenge": {strings.Repeat("a", 43)}, "code_challenge_method": {"S256"}, "state": {"s"},
		}
		for i := 0; i < len(change); i += 2 {
			q.Set(change[i], change[i+1])
		}
		return "/authorize?" + q.Encode()
	}
	const form, asJSON = "application/x-www-form-urlencoded", "application/json"
	long := strings.Repeat("x", 17<<10)
	rows := []struct {
		name, method, path, kind, body string
		status                         int
		says                           string
		redirect                       string // where the browser may go; "" nowhere
	}{
		{name: "authorize: unknown client", path: authorize("client_id", "nobody"), status: 400, says: "not registered"},
		{name: "authorize: another redirect", path: authorize("redirect_uri", "https://evil.example/"), status: 400, says: "did not register"},
		{name: "authorize: a redirect with more behind it", path: authorize("redirect_uri", "http://127.0.0.1/callback/x"), status: 400, says: "did not register"},
		{name: "authorize: a redirect to a host with the same end", path: authorize("redirect_uri", "http://x127.0.0.1/callback"), status: 400, says: "did not register"},
		{name: "authorize: no redirect", path: authorize("redirect_uri", ""), status: 400, says: "did not register"},
		{name: "authorize: two redirects", path: authorize() + "&redirect_uri=https%3A%2F%2Fevil.example", status: 400, says: "cannot read"},
		{name: "authorize: no PKCE", path: authorize("code_challenge_method", "plain"), status: 303, redirect: "http://127.0.0.1/callback?error=invalid_request"},
		{name: "authorize: unknown device", path: authorize("audience", "barn"), status: 303, redirect: "http://127.0.0.1/callback?error=invalid_request"},
		{name: "authorize: a parameter twice", path: authorize() + "&scope=unlock&scope=view", status: 303, redirect: "http://127.0.0.1/callback?error=invalid_request"},
		{name: "authorize: an address far too long", path: authorize("state", long[:5000]), status: 400, says: "cannot read"},
		{name: "token: unknown client", method: "POST", path: "/token", kind: form, body: "grant_type=client_credentials&client_id=nobody&client_secret=x", status: 401, says: "invalid_client"},
		{name: "token: wrong secret", method: "POST", path: "/token", kind: form, body: "grant_type=client_credentials&client_id=gateway&client_secret=x", status: 401, says: "invalid_client"},
		{name: "token: a public client's own rights", method: "POST", path: "/token", kind: form, body: "grant_type=client_credentials&client_id=phone&audience=front-door", status: 400, says: "unauthorized_client"},
		{name: "token: refresh_token", method: "POST", path: "/token", kind: form, body: "grant_type=refresh_token&client_id=phone&refresh_token=x", status: 400, says: "unauthorized_client"},
		{name: "token: no such code", method: "POST", path: "/token", kind: form, body: "grant_type=authorization_code&client_id=phone&code=x&code_verifier=" + strings.Repeat("a", 43) + "&redirect_uri=http%3A%2F%2F127.0.0.1%2Fcallback", status: 400, says: "invalid_grant"},
		{name: "token: malformed JSON", method: "POST", path: "/token", kind: asJSON, body: `{"grant_type":`, status: 400, says: "invalid_request"},
		{name: "token: a member twice", method: "POST", path: "/token", kind: asJSON, body: `{"grant_type":"client_credentials","grant_type":"authorization_code","client_id":"phone"}`, status: 400, says: "invalid_request"},
		{name: "token: a parameter twice", method: "POST", path: "/token", kind: form, body: "grant_type=client_credentials&client_id=phone&client_id=gateway", status: 400, says: "invalid_request"},
		{name: "token: a malformed form", method: "POST", path: "/token", kind: form, body: "grant_type=%zz", status: 400, says: "invalid_request"},
		{name: "token: another content type", method: "POST", path: "/token", kind: "text/plain", body: "grant_type=client_credentials", status: 415, says: "application/json"},
		{name: "token: no content type", method: "POST", path: "/token", body: "grant_type=client_credentials", status: 415, says: "application/json"},
		{name: "token: an oversized body", method: "POST", path: "/token", kind: form, body: "grant_type=" + long, status: 413, says: "16 KiB"},
		{name: "token: parameters in the address", method: "POST", path: "/token?client_secret=x", kind: form, body: "grant_type=client_credentials", status: 400, says: "invalid_request"},
		{name: "token: GET", path: "/token?grant_type=client_credentials", status: 405},
		{name: "introspect: GET", path: "/introspect", status: 405},
		{name: "an address that is not there", path: "/userinfo", status: 404},
	}
	records, granted := s.records(), s.granted()
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			response, body := send(t, row.method, "http://"+s.http+row.path, row.kind, row.body)
			if response.StatusCode != row.status || !strings.Contains(body, row.says) {
				t.Errorf("answered %d %q, want %d with %q", response.StatusCode, body, row.status, row.says)
			}
			if to := response.Header.Get("Location"); row.redirect == "" && to != "" || !strings.HasPrefix(to, row.redirect) {
				t.Errorf("the browser is sent to %q, want %q", to, row.redirect)
			}
			if strings.Contains(body, "goroutine") || strings.Contains(body, ".go:") {
				t.Errorf("the answer has a stack trace: %s", body)
			}
		})
	}
	if after := s.records(); after != records {
		t.Errorf("the records changed from\n%s to\n%s", records, after)
	}
	if after := s.granted(); after != granted {
		t.Errorf("something was granted: %s", after)
	}
}

// send makes one request and follows no redirect.
func send(t *testing.T, method, address, kind, body string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(text)
}

// socket is a CoAP endpoint of the test's own.
func socket(t *testing.T) *coapsec.Endpoint {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := coapsec.NewEndpoint(conn, nil, coapsec.EndpointOptions{})
	go func() { _ = e.Serve(context.Background()) }() // ends with Close
	t.Cleanup(func() { _ = e.Close() })
	return e
}

// coapRow is a request that must be refused.
type coapRow struct {
	name    string
	path    string
	format  message.MediaType
	payload []byte
	option  message.OptionID // one more option; 0: none
	code    codes.Code
	says    []byte // in the payload of the answer
}

func (r coapRow) request() message.Message {
	m := coapsec.NewRequest(codes.POST, r.path, r.format, r.payload)
	if r.option != 0 {
		m.Options = m.Options.Add(message.Option{ID: r.option, Value: []byte{1}})
	}
	return m
}

func (r coapRow) check(t *testing.T, answer message.Message, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if answer.Code != r.code || !bytes.Contains(answer.Payload, r.says) {
		t.Errorf("answered %v %x, want %v with %x", answer.Code, answer.Payload, r.code, r.says)
	}
}

// unknownCritical is odd, and so critical, and registered for nothing.
const unknownCritical message.OptionID = 2041

// CBOR that is not what it should be; 18 1e is the ACE parameter error, 1 invalid_request.
var (
	truncated = []byte{0xa2, 0x18, 0x21}
	repeated  = []byte{0xa2, 0x18, 0x21, 0x02, 0x18, 0x21, 0x02}
	trailing  = []byte{0xa1, 0x18, 0x21, 0x02, 0x00}
	endless   = []byte{0xbf, 0x18, 0x21, 0x02, 0xff}
	invalid   = []byte{0x18, 0x1e, 0x01}
)

// TestBadCoAPAtServer sends bad requests as a registered client, over its own security context.
func TestBadCoAPAtServer(t *testing.T) {
	s := newStreet(t)
	s.write("keys.json", `{"master_secret":"000102030405060708090a0b0c0d0e0f","client_id":"01","server_id":"00"}`)
	s.must("", "latchkey", "client", "add", "hub", "--auth-method", "oscore", "--import", "keys.json")
	secret, err := hex.DecodeString("000102030405060708090a0b0c0d0e0f")
	if err != nil {
		t.Fatal(err)
	}
	hub := coapsec.NewChannel(oscore.Params{MasterSecret: secret, SenderID: []byte{1}, RecipientID: []byte{0}}, coapsec.ChannelOptions{})
	stranger := coapsec.NewChannel(oscore.Params{MasterSecret: secret, SenderID: []byte{9}, RecipientID: []byte{0}}, coapsec.ChannelOptions{})
	server := socket(t).To(netip.MustParseAddrPort(s.coap))
	upload := coapsec.UploadBlocks(exchanger(func(ctx context.Context, m message.Message) (message.Message, error) {
		return hub.Exchange(ctx, server, m)
	}), 512)

	records, granted := s.records(), s.granted()
	for _, r := range []coapRow{
		{name: "CBOR that ends early", path: "/token", format: ace.FormatACE, payload: truncated, code: codes.BadRequest, says: invalid},
		{name: "a parameter twice", path: "/token", format: ace.FormatACE, payload: repeated, code: codes.BadRequest, says: invalid},
		{name: "bytes behind the end", path: "/token", format: ace.FormatACE, payload: trailing, code: codes.BadRequest, says: invalid},
		{name: "a map of no stated length", path: "/token", format: ace.FormatACE, payload: endless, code: codes.BadRequest, says: invalid},
		{name: "no payload", path: "/token", format: ace.FormatACE, code: codes.BadRequest, says: invalid},
		{name: "JSON", path: "/token", format: message.AppJSON, payload: []byte("{}"), code: codes.UnsupportedMediaType},
		{name: "no content format", path: "/token", format: coapsec.NoFormat, payload: []byte{0xa0}, code: codes.UnsupportedMediaType},
		{name: "an oversized body", path: "/token", format: ace.FormatACE, payload: make([]byte, 8<<10), code: codes.RequestEntityTooLarge},
		{name: "an unknown critical option", path: "/token", format: ace.FormatACE, payload: []byte{0xa0}, option: unknownCritical, code: codes.BadOption},
		{name: "a device's resource", path: "/register", format: ace.FormatCBOR, payload: []byte{0xa0}, code: codes.Forbidden},
		{name: "a path that is not there", path: "/garage", format: ace.FormatACE, payload: []byte{0xa0}, code: codes.NotFound},
	} {
		t.Run(r.name, func(t *testing.T) {
			answer, err := upload.Exchange(t.Context(), r.request())
			r.check(t, answer, err)
		})
	}
	t.Run("without protection", func(t *testing.T) {
		r := coapRow{path: "/token", format: ace.FormatACE, payload: []byte{0xa0}, code: codes.Unauthorized}
		answer, err := server.Exchange(t.Context(), r.request())
		r.check(t, answer, err)
	})
	t.Run("a client that is not known", func(t *testing.T) {
		r := coapRow{path: "/token", format: ace.FormatACE, payload: []byte{0xa0}}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if answer, err := stranger.Exchange(ctx, server, r.request()); err == nil || !strings.Contains(err.Error(), "4.01") {
			t.Errorf("answered %v (%v), want 4.01", answer.Code, err)
		}
	})
	if after := s.records(); after != records {
		t.Errorf("the records changed from\n%s to\n%s", records, after)
	}
	if after := s.granted(); after != granted {
		t.Errorf("something was granted: %s", after)
	}
}

// exchanger is a function as a coapsec.Exchanger.
type exchanger func(context.Context, message.Message) (message.Message, error)

// Exchange implements coapsec.Exchanger.
func (f exchanger) Exchange(ctx context.Context, m message.Message) (message.Message, error) {
	return f(ctx, m)
}

// TestBadCoAPAtLock shows the lock what is no token, as anybody near the door may.
func TestBadCoAPAtLock(t *testing.T) {
	s := newStreet(t)
	lock := coapsec.UploadBlocks(socket(t).To(netip.MustParseAddrPort(s.at)), 512)
	before := s.read("lock-state/state")
	const info = ace.PathAuthzInfo
	for _, r := range []coapRow{
		{name: "CBOR that ends early", path: info, format: ace.FormatACE, payload: truncated, code: codes.BadRequest},
		{name: "a parameter twice", path: info, format: ace.FormatACE, payload: repeated, code: codes.BadRequest},
		{name: "no payload", path: info, format: ace.FormatACE, code: codes.BadRequest},
		{name: "an empty map", path: info, format: ace.FormatACE, payload: []byte{0xa0}, code: codes.BadRequest},
		{name: "a token that is none", path: info, format: ace.FormatACE, payload: authzInfo(t, []byte("not a token")), code: codes.BadRequest},
		{name: "a token by nobody", path: info, format: ace.FormatACE, payload: authzInfo(t, forged), code: codes.Unauthorized},
		{name: "JSON", path: info, format: message.AppJSON, payload: []byte("{}"), code: codes.UnsupportedMediaType},
		{name: "no content format", path: info, format: coapsec.NoFormat, payload: []byte{0xa0}, code: codes.UnsupportedMediaType},
		{name: "an oversized body", path: info, format: ace.FormatACE, payload: make([]byte, 8<<10), code: codes.RequestEntityTooLarge},
		{name: "an unknown critical option", path: info, format: ace.FormatACE, payload: []byte{0xa0}, option: unknownCritical, code: codes.BadOption},
		{name: "an unlock without a key", path: "/door/unlock", format: coapsec.NoFormat, code: codes.Unauthorized},
		{name: "a path that is not there", path: "/garage", format: coapsec.NoFormat, code: codes.Unauthorized},
	} {
		t.Run(r.name, func(t *testing.T) {
			answer, err := lock.Exchange(t.Context(), r.request())
			r.check(t, answer, err)
		})
	}
	if s.read("lock-state/state") != before {
		t.Error("the lock's state changed")
	}
	if out := s.lock.out.String(); strings.Contains(out, `"bolt"`) {
		t.Errorf("the bolt moved: %s", out)
	}
}

func authzInfo(t *testing.T, token []byte) []byte {
	t.Helper()
	payload, err := ace.AuthzInfo{Token: token, Nonce1: make([]byte, 8), ClientRecipientID: []byte{1}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

// forged has the form of an Encrypt0 token: 61(16([{1: 30, 4: h'01', 5: 13 zero bytes}, {}, 32 zero bytes])).
var forged = fmt.Appendf([]byte{0xd8, 0x3d, 0xd0, 0x83, 0x56, 0xa3, 0x01, 0x18, 0x1e, 0x04, 0x41, 0x01, 0x05, 0x4d}, "%s\xa0\x58\x20%s", make([]byte, 13), make([]byte, 32))
