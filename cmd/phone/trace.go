package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/cwt"
	"github.com/plgd-dev/go-coap/v3/message"
)

// trace shows messages: in words with -v, decoded with -vv. Keys, codes and passwords are shown by neither.
type trace struct {
	out   io.Writer
	level int
}

func (t trace) words(format string, args ...any) {
	if t.level > 0 {
		fmt.Fprintf(t.out, "      "+format+"\n", args...)
	}
}

func (t trace) decoded(format string, args ...any) {
	if t.level > 1 {
		fmt.Fprintf(t.out, "        "+format+"\n", args...)
	}
}

// http is a client whose JSON messages are shown.
func (t trace) http(c *http.Client) *http.Client {
	if t.level < 2 {
		return c
	}
	next := http.DefaultTransport
	c.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		t.decoded("→ %s %s%s", r.Method, r.URL.Path, t.body(r.Header, &r.Body))
		response, err := next.RoundTrip(r)
		if err == nil {
			t.decoded("← %s%s", response.Status, t.body(response.Header, &response.Body))
		}
		return response, err
	})
	return c
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// hidden are the members whose values would be of use to a thief.
var hidden = []string{"code", "code_verifier", "client_secret", "refresh_token", "device_code", "request_uri", "k", "ms"}

// body shows a JSON body and puts it back; other bodies are pages and forms with passwords.
func (t trace) body(h http.Header, body *io.ReadCloser) string {
	if *body == nil || h.Get("Content-Type") != "application/json" {
		return ""
	}
	data, err := io.ReadAll(*body)
	_ = (*body).Close()
	*body = io.NopCloser(bytes.NewReader(data))
	var object map[string]any
	if err != nil || json.Unmarshal(data, &object) != nil {
		return ""
	}
	token, _ := object["access_token"].(string)
	hide(object)
	shown, err := json.Marshal(object)
	if err != nil {
		return ""
	}
	return " " + string(shown) + describeToken(token)
}

func hide(object map[string]any) {
	for name, value := range object {
		if inner, ok := value.(map[string]any); ok {
			hide(inner)
		} else if slices.Contains(hidden, name) {
			object[name] = "[hidden]"
		}
	}
}

func describeToken(token string) string {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || token == "" {
		return ""
	}
	view, err := cwt.Describe(raw)
	if err != nil {
		return ""
	}
	return "\n          token: " + strings.ReplaceAll(view, "\n", "\n          ")
}

// inner shows a message before protection or after its removal.
func (t trace) inner(who string, m message.Message) {
	t.words("%s  %s", who, coapsec.Describe(m))
}

// messages shows CoAP messages as they cross a place: the air, or the inside of an association.
func (t trace) messages(place string) func(string, netip.AddrPort, []byte) {
	if t.level < 2 {
		return nil
	}
	return func(direction string, _ netip.AddrPort, datagram []byte) {
		t.decoded("%s, %s: %s", place, direction, coapsec.DescribeDatagram(datagram))
	}
}

// frames shows what the radio carries.
func (t trace) frames() func(string, []byte) {
	if t.level < 2 {
		return nil
	}
	return func(direction string, value []byte) {
		t.decoded("on the radio, %s: %d bytes h'%x'", direction, len(value), value)
	}
}
