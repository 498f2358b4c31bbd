package cli_test

import (
	"bytes"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/latchkey-ace/latchkey/scenarios/stage"
)

const (
	startTime = 10 * time.Second // for a program to say that it is ready
	endTime   = 10 * time.Second // for a program to end after SIGTERM
)

// output collects what a program prints while it runs.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// process is a program that keeps running until the test ends.
type process struct {
	t        *testing.T
	cmd      *exec.Cmd
	out, err output
	done     chan struct{}
}

// start runs a program and waits until it has printed ready.
func (h *house) start(c call, ready string) *process {
	h.t.Helper()
	p := &process{t: h.t, cmd: h.command(h.t.Context(), c), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	if err := p.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in its state
		close(p.done)
	}()
	h.t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.done
	})
	if !p.says(ready) {
		h.t.Fatalf("%s %s did not say %q: %s%s", c.program, c.args, ready, p.out.String(), p.err.String())
	}
	return p
}

// says waits until it has printed a text.
func (p *process) says(text string) bool {
	return stage.Eventually(startTime, func() bool {
		return strings.Contains(p.out.String()+p.err.String(), text)
	}) == nil
}

// serve starts the server and returns its HTTP and CoAP addresses.
func (h *house) serve(args string, env ...string) (p *process, http, coap string) {
	h.t.Helper()
	p = h.start(call{program: "latchkey", args: "serve " + args, env: env}, "serving ")
	words := strings.Fields(p.out.String()) // serving ISSUER on http://ADDRESS and coap://ADDRESS
	return p, strings.TrimPrefix(words[3], "http://"), strings.TrimPrefix(words[5], "coap://")
}

// terminate asks it to end and returns its exit code, -1 if a signal ended it.
func (p *process) terminate() int {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(endTime):
		p.t.Fatalf("still running %v after SIGTERM", endTime)
		return 0
	}
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}
