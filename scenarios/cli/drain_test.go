package cli_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/scenarios/stage"
)

// gateway asks for a token as the app of newHouse that acts without a person, and returns the status.
func (h *house) gateway(address string) (int, http.Header, string, error) {
	request, err := http.NewRequestWithContext(h.t.Context(), http.MethodPost, "http://"+address+"/token",
		strings.NewReader(url.Values{"grant_type": {"client_credentials"}, "audience": {"front-door"}, "scope": {"unlock"}}.Encode()))
	if err != nil {
		return 0, nil, "", err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth("gateway", h.gatewaySecret())
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, response.Header, string(body), err
}

func (h *house) gatewaySecret() string {
	h.t.Helper()
	var client struct {
		Secret string `json:"secret"`
	}
	if err := json.Unmarshal([]byte(read(h.t, h.path("gateway.secret"))), &client); err != nil || client.Secret == "" {
		h.t.Fatalf("no secret: %v", err)
	}
	return client.Secret
}

// onRecord counts the tokens that the audit log knows of.
func (h *house) onRecord() int {
	h.t.Helper()
	var entries []struct{ Event, Result string }
	if err := json.Unmarshal([]byte(h.must("", "latchkey", "audit", "tail", "-n", "100000", "--json")), &entries); err != nil {
		h.t.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		if e.Event == "token" && e.Result == "granted" {
			n++
		}
	}
	return n
}

// TestDrainUnderLoad is F122: apps ask for tokens while the server is told to stop. /readyz turns first, doors close after
// the delay, and every token that was answered is on record.
func TestDrainUnderLoad(t *testing.T) {
	h := newHouse(t)
	h.must("", "latchkey", "grant", "add", "--owner", "alice", "--to-client", "gateway", "--device", "front-door", "--allow", "unlock")
	watched := freePort(t, "tcp")
	p, address, _ := h.serve("--limits=false --drain-delay 2s --drain 20s --admin " + watched)
	before := h.onRecord()
	var acknowledged, broken atomic.Int64
	var apps sync.WaitGroup
	for range 8 {
		apps.Go(func() {
			for {
				status, _, body, err := h.gateway(address)
				if err != nil {
					return // the door is closed
				}
				if status == http.StatusOK {
					acknowledged.Add(1)
				} else {
					broken.Add(1)
					t.Errorf("answered %d: %s", status, body)
				}
			}
		})
	}
	for acknowledged.Load() < 20 && broken.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "http://"+watched+"/readyz", http.StatusServiceUnavailable, "draining")
	if status, _ := ask(t, "http://"+address+"/jwks"); status != http.StatusOK {
		t.Errorf("within the delay: %d, want 200", status)
	}
	if status, _ := ask(t, "http://"+watched+"/healthz"); status != http.StatusOK {
		t.Errorf("/healthz: %d, want 200", status)
	}
	apps.Wait()
	<-p.done
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("ended with %d: %s", code, p.err.String())
	}
	if on := int64(h.onRecord() - before); on < acknowledged.Load() || acknowledged.Load() < 20 {
		t.Errorf("%d tokens were answered, %d are on record", acknowledged.Load(), on)
	}
}

// TestDrainEnds: a request that never ends is cut off after the drain time, a second signal ends the wait at once.
func TestDrainEnds(t *testing.T) {
	for _, row := range []struct {
		name, drain string
		again       bool
		code        int
	}{
		{"after the drain time", "300ms", false, 0},
		{"at once by a second signal", "10m", true, -1},
	} {
		t.Run(row.name, func(t *testing.T) {
			h := newHouse(t)
			p, address, _ := h.serve("--drain " + row.drain)
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\ngrant_type=")
			ask(t, "http://"+address+"/jwks") // answered after the other was taken
			if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			err = stage.Eventually(endTime, func() bool {
				if row.again { // the next may come while the first is still being heard
					_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
				}
				return !p.running()
			})
			if err != nil {
				t.Fatal("it still runs")
			}
			if code := p.cmd.ProcessState.ExitCode(); code != row.code {
				t.Errorf("ended with %d, want %d", code, row.code)
			}
			if !row.again && !strings.Contains(p.err.String(), "cut off") {
				t.Errorf("it does not say that a request was cut off: %s", p.err.String())
			}
		})
	}
}
