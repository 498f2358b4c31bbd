package dtls

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/pop/coapsec"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// coapClient runs libcoap's client and returns what it prints.
func coapClient(t *testing.T, args ...string) string {
	t.Helper()
	const name = "coap-client-openssl"
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: install Debian's libcoap3-bin, as make test does", name)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, append([]string{"-B", "5"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func TestLibcoapClient(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcde\n"), 3000/16)
	h := coapsec.HandlerFunc(func(_ context.Context, r *coapsec.Request) message.Message {
		switch path, _ := r.Path(); {
		case path == "/large":
			return message.Message{Code: codes.Content, Payload: body}
		case r.Code == codes.POST && bytes.Equal(r.Payload, body):
			return message.Message{Code: codes.Changed, Payload: fmt.Appendf(nil, "%d bytes", len(r.Payload))}
		case r.Code == codes.GET:
			return message.Message{Code: codes.Content, Payload: fmt.Append(nil, r.Peer.Session)}
		}
		return message.Message{Code: codes.BadRequest}
	})
	table := ring{"alice": aliceKey}
	s := start(t, loopback(t), table, coapsec.Blockwise(h, coapsec.BlockwiseOptions{}), quiet)
	uri := "coaps://" + s.LocalAddr().String()
	file := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(file, body, 0o600); err != nil {
		t.Fatal(err)
	}
	alice := []string{"-u", "alice", "-k", string(aliceKey)}
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"GET", append(alice, "-m", "get", uri+"/who"), "alice"},
		{"GET, non-confirmable", append(alice, "-N", "-m", "get", uri+"/who"), "alice"},
		{"POST in blocks of 1024", append(alice, "-m", "post", "-f", file, "-b", "1024", uri+"/"), "2992 bytes"},
		{"POST in blocks of 64", append(alice, "-m", "post", "-f", file, "-b", "64", uri+"/"), "2992 bytes"},
		{"GET in blocks of 512", append(alice, "-m", "get", "-b", "512", uri+"/large"), string(body)},
	} {
		t.Run(test.name, func(t *testing.T) {
			// After the payload the client may end its line.
			if got := coapClient(t, test.args...); got != test.want && got != test.want+"\n" {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	for name, args := range map[string][]string{
		"unknown identity": {"-u", "mallory", "-k", string(aliceKey)},
		"wrong key":        {"-u", "alice", "-k", string(bobKey)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := coapClient(t, append(args, "-B", "2", "-m", "get", uri+"/who")...); strings.Contains(got, "alice") {
				t.Errorf("got %q", got)
			}
		})
	}
}
