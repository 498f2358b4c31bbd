package cli_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop/ace"
	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/latchkey-ace/latchkey/pop/coapsec/dtls"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// dialTime is for a handshake that should succeed; silence is how long one is waited for that should not.
const (
	dialTime = 10 * time.Second
	silence  = 700 * time.Millisecond
)

func dialCoAPs(t *testing.T, address string, identity, key []byte, within time.Duration) (*dtls.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	c, err := dtls.Dial(ctx, netip.MustParseAddrPort(address), identity, key, dtls.Options{Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

// TestServeCoAPs: with --coaps the server lets in, over DTLS, a client whose key it took over, gives it a token, and nobody else.
func TestServeCoAPs(t *testing.T) {
	h := newHouse(t)
	key := bytes.Repeat([]byte{0xfe, 0xdc}, 16)
	h.write("psk.json", `{"psk":"`+strings.Repeat("fedc", 16)+`","psk_identity":"meter"}`)
	h.must("", "latchkey", "client", "add", "meter", "--auth-method", "dtls", "--import", h.path("psk.json"))
	h.must("", "latchkey", "grant", "add", "--owner", "alice", "--to-client", "meter", "--device", "front-door", "--allow", "unlock", "--until", "4h")
	address := freePort(t, "udp")
	p := h.start(call{program: "latchkey", args: "serve --coaps " + address}, "serving ")
	if !strings.Contains(p.out.String(), " and coaps://"+address) {
		t.Fatalf("it says %q", p.out.String())
	}
	conn, err := dialCoAPs(t, address, []byte("meter"), key, dialTime)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(in ace.TokenRequest) (codes.Code, []byte) {
		payload, err := in.CBOR()
		if err != nil {
			t.Fatal(err)
		}
		answer, err := conn.Exchange(t.Context(), coapsec.NewRequest(codes.POST, ace.PathToken, ace.FormatACE, payload))
		if err != nil {
			t.Fatal(err)
		}
		return answer.Code, answer.Payload
	}
	code, payload := ask(ace.TokenRequest{GrantType: ace.GrantClientCredentials, Audience: "front-door"})
	out, err := ace.ParseTokenResponseCBOR(payload)
	if code != codes.Created || err != nil || len(out.AccessToken) == 0 || out.Cnf == nil || out.ExpiresIn <= 0 {
		t.Errorf("got %v, %v", code, err)
	}
	code, payload = ask(ace.TokenRequest{GrantType: ace.GrantClientCredentials, Audience: "monitor"})
	if refused, err := ace.ParseErrorCBOR(payload); code != codes.BadRequest || err != nil || refused.Code == 0 {
		t.Errorf("without a grant: got %v, %v", code, err)
	}
	for name, who := range map[string]struct{ identity, key []byte }{
		"a wrong key":         {[]byte("meter"), key[1:]},
		"an unknown identity": {[]byte("nobody"), key},
	} {
		if _, err := dialCoAPs(t, address, who.identity, who.key, silence); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: got %v, want silence", name, err)
		}
	}
	if code := p.terminate(); code != 0 {
		t.Errorf("ended with %d after SIGTERM, want 0: %s", code, p.err.String())
	}
}

// TestServeWithoutCoAPs: nobody listens for DTLS who was not told to.
func TestServeWithoutCoAPs(t *testing.T) {
	h := newHouse(t)
	p, _, _ := h.serve("")
	if strings.Contains(p.out.String(), "coaps") {
		t.Errorf("it says %q", p.out.String())
	}
}
