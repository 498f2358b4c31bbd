package coapsec

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// coapClient runs libcoap's client and returns what it prints.
func coapClient(t *testing.T, args ...string) string {
	t.Helper()
	const name = "coap-client-notls"
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing: install Debian's libcoap3-bin, as make test does", name)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var complaints bytes.Buffer
	command := exec.CommandContext(ctx, path, append([]string{"-B", "8"}, args...)...)
	command.Stderr = &complaints
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, complaints.Bytes())
	}
	return string(out) + complaints.String()
}

func TestLibcoapClient(t *testing.T) {
	rec := &recorder{}
	h := HandlerFunc(func(ctx context.Context, r *Request) message.Message {
		switch path, _ := r.Path(); path {
		case "/state":
			return message.Message{Code: codes.Content, Options: message.Options{{ID: message.ContentFormat}}, Payload: []byte("closed")}
		case "/slow":
			time.Sleep(150 * time.Millisecond)
			return message.Message{Code: codes.Content, Payload: []byte("at last")}
		case "/upload":
			rec.ServeCoAP(ctx, r)
			return message.Message{Code: codes.Changed, Payload: fmt.Appendf(nil, "%d bytes", len(r.Payload))}
		}
		return message.Message{Code: codes.NotFound}
	})
	o := quick
	o.AckTimeout = 2 * time.Second
	server := serve(t, loopback(t), Blockwise(h, BlockwiseOptions{}), o)
	uri := "coap://" + server.LocalAddr().String()
	file := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(file, body(3000), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"GET", []string{"-m", "get", uri + "/state"}, "closed\n"},
		{"GET, non-confirmable", []string{"-N", "-m", "get", uri + "/state"}, "closed\n"},
		{"GET, answered separately", []string{"-m", "get", uri + "/slow"}, "at last\n"},
		{"GET of nothing", []string{"-m", "get", uri + "/nothing"}, "4.04\n"},
		{"unknown critical option", []string{"-O", "2049,x", "-m", "get", uri + "/state"}, "4.02 critical option 2049\n"},
		{"POST in blocks of 1024", []string{"-m", "post", "-f", file, "-b", "1024", uri + "/upload"}, "3000 bytes\n"},
		{"POST in blocks of 64", []string{"-m", "post", "-f", file, "-b", "64", uri + "/upload"}, "3000 bytes\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := coapClient(t, test.args...); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if len(rec.requests) != 2 {
		t.Fatalf("got %d uploads, want 2", len(rec.requests))
	}
	for i, r := range rec.requests {
		if !bytes.Equal(r.Payload, body(3000)) {
			t.Errorf("upload %d: got other bytes than were sent", i)
		}
	}
}
