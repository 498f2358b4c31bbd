package stage

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is a program that keeps running. It is safe for concurrent use.
type Process struct {
	cmd   *exec.Cmd
	done  chan struct{}
	stage *Stage

	mu    sync.Mutex
	lines []string
}

func startProcess(s *Stage, path string, args ...string) (*Process, error) {
	cmd := exec.Command(path, args...)
	cmd.Env = cleanEnvironment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // nothing outlives a story
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	errs, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w; run make build first", path, err)
	}
	p := &Process{cmd: cmd, done: make(chan struct{}), stage: s}
	var readers sync.WaitGroup
	for _, r := range []io.Reader{out, errs} {
		readers.Go(func() { p.read(r) })
	}
	go func() {
		readers.Wait()
		_ = cmd.Wait() // how it ended is seen in its output
		close(p.done)
	}()
	return p, nil
}

func (p *Process) read(r io.Reader) {
	for s := bufio.NewScanner(r); s.Scan(); {
		p.mu.Lock()
		p.lines = append(p.lines, s.Text())
		p.mu.Unlock()
		p.overhear(s.Text())
	}
}

// overhear passes on what a device tells of its server's channel.
func (p *Process) overhear(line string) {
	var e Event
	if json.Unmarshal([]byte(line), &e) != nil || e.Event != "message" {
		return
	}
	text := "      " + e.State + "  " + e.Action + "\n"
	if p.stage.Verbose {
		text += "        over their channel, protected: " + e.Reason + "\n"
	}
	_, _ = p.stage.air.Write([]byte(text)) // never fails
}

// Lines is what it has printed so far.
func (p *Process) Lines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.lines)
}

// Output is the same as one text.
func (p *Process) Output() string { return strings.Join(p.Lines(), "\n") }

// Await waits until a printed line contains text.
func (p *Process) Await(text string, within time.Duration) bool {
	return Eventually(within, func() bool { return p.count(text) > 0 }) == nil
}

func (p *Process) count(text string) int {
	n := 0
	for _, line := range p.Lines() {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// PID is its process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Running reports whether it has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Kill ends it at once, as a power cut would.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
}

// Stop ends it politely, then at once.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.done:
	case <-time.After(3 * time.Second):
		p.Kill()
	}
}

// Event is one line that a device printed with --json.
type Event struct {
	Event  string `json:"event"`
	State  string `json:"state"`  // of the bolt or the alarm
	Action string `json:"action"` // of an access
	Result string `json:"result"`
	Reason string `json:"reason"`
}

// Events are the lines of one kind, oldest first.
func (p *Process) Events(kind string) []Event {
	var events []Event
	for _, line := range p.Lines() {
		var e Event
		if json.Unmarshal([]byte(line), &e) == nil && e.Event == kind {
			events = append(events, e)
		}
	}
	return events
}
