package coapsec

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
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

// house is what libcoap's client talks to: it counts the requests that reach it.
type house struct {
	mu      sync.Mutex
	calls   int
	uploads [][]byte
}

// text is n bytes that libcoap's client prints as they are.
func text(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'a' + byte((i^i>>8*37)%26)
	}
	return b
}

func (h *house) ServeCoAP(_ context.Context, r *Request) message.Message {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls++
	switch path, _ := r.Path(); path {
	case "/state":
		return message.Message{Code: codes.Content, Options: message.Options{{ID: message.ContentFormat}}, Payload: []byte("closed")}
	case "/slow":
		time.Sleep(150 * time.Millisecond)
		return message.Message{Code: codes.Content, Payload: []byte("at last")}
	case "/log":
		return message.Message{Code: codes.Content, Options: message.Options{{ID: message.ContentFormat}}, Payload: text(3000)}
	case "/upload":
		h.uploads = append(h.uploads, r.Payload)
		return message.Message{Code: codes.Changed, Payload: fmt.Appendf(nil, "%d bytes", len(r.Payload))}
	case "/exchange":
		h.uploads = append(h.uploads, r.Payload)
		return message.Message{Code: codes.Changed, Options: message.Options{{ID: message.ContentFormat}}, Payload: text(2500)}
	}
	return message.Message{Code: codes.NotFound}
}

func TestLibcoapClient(t *testing.T) {
	h := &house{}
	reach, err := NewReachability(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	o := quick
	o.AckTimeout = 2 * time.Second
	o.Verify = reach.Verify
	if testing.Verbose() {
		o.Tap = func(d string, _ netip.AddrPort, data []byte) { t.Log(d, DescribeDatagram(data)) }
	}
	server := serve(t, udp(t), Blockwise(h, BlockwiseOptions{}), o)
	uri := "coap://" + server.LocalAddr().String()
	file := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(file, body(3000), 0o600); err != nil {
		t.Fatal(err)
	}
	type row struct {
		name    string
		args    []string
		want    string
		calls   int
		uploads int
	}
	rows := []row{
		{"GET", []string{"-m", "get", uri + "/state"}, "closed\n", 1, 0},
		{"GET, non-confirmable", []string{"-N", "-m", "get", uri + "/state"}, "closed\n", 1, 0},
		{"GET, answered separately", []string{"-m", "get", uri + "/slow"}, "at last\n", 1, 0},
		{"GET of nothing", []string{"-m", "get", uri + "/nothing"}, "4.04\n", 1, 0},
		{"unknown critical option", []string{"-O", "2049,x", "-m", "get", uri + "/state"}, "4.02 critical option 2049\n", 0, 0},
	}
	for size := 16; size <= 1024; size *= 2 {
		b := fmt.Sprint(size)
		gets := 2 // the first finds the address unproven, but for a block that no proof is needed for
		if size == 16 {
			gets = 1
		}
		rows = append(rows,
			row{"3000 bytes up in blocks of " + b, []string{"-m", "post", "-f", file, "-b", b, uri + "/upload"}, "3000 bytes\n", 1, 1},
			row{"3000 bytes down in blocks of " + b, []string{"-m", "get", "-b", b, uri + "/log"}, string(text(3000)) + "\n", gets, 0},
			row{"3000 bytes up and 2500 down in blocks of " + b, []string{"-m", "post", "-f", file, "-b", b, uri + "/exchange"}, string(text(2500)) + "\n", 1, 1},
		)
	}
	for _, test := range rows {
		t.Run(test.name, func(t *testing.T) {
			h.mu.Lock()
			h.calls, h.uploads = 0, nil
			h.mu.Unlock()
			if got := coapClient(t, test.args...); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.calls != test.calls || len(h.uploads) != test.uploads {
				t.Errorf("got %d calls with %d uploads, want %d with %d", h.calls, len(h.uploads), test.calls, test.uploads)
			}
			for _, upload := range h.uploads {
				if !bytes.Equal(upload, body(3000)) {
					t.Error("got other bytes than were sent")
				}
			}
		})
	}
}
