package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	helloCommand = "hello"
	tick         = 10 * time.Millisecond // of /proc/PID/stat on Linux
	startTime    = 10 * time.Second
)

// process is a server whose CPU time can be read.
type process struct {
	cmd  *exec.Cmd
	line string // the first it printed
	in   io.Writer
	out  *bufio.Scanner
}

// startProcess waits for the first line on its output.
func startProcess(ctx context.Context, path string, args ...string) (*process, error) {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // nothing outlives a run
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w; run make build first", err)
	}
	p := &process{cmd: cmd, in: in, out: bufio.NewScanner(out)}
	first := make(chan string, 1)
	go func() {
		p.out.Scan()
		first <- p.out.Text()
	}()
	select {
	case p.line = <-first:
	case <-time.After(startTime):
	}
	if p.line == "" {
		p.stop()
		return nil, fmt.Errorf("%s did not start", filepath.Base(path))
	}
	return p, nil
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	_ = p.cmd.Wait()                          // how it ended does not matter here
}

// cpu is the time it has used so far, system calls included (proc_pid_stat(5), fields 14 and 15).
func (p *process) cpu() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(string(stat), ") ") // the name in parentheses may hold anything
	fields := strings.Fields(after)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat is not understood", p.cmd.Process.Pid)
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, nil
}

// usage is as cpu, to the microsecond, of a server that tells it (tellUsage).
func (p *process) usage() (time.Duration, error) {
	if _, err := fmt.Fprintln(p.in); err != nil {
		return 0, err
	}
	if !p.out.Scan() {
		return 0, errors.New("the server is gone")
	}
	n, err := strconv.ParseInt(p.out.Text(), 10, 64)
	return time.Duration(n), err
}

// resident is the memory it has now, in MiB (proc_pid_statm(5), field 2).
func (p *process) resident() (float64, error) {
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	var size, pages int
	if _, err := fmt.Sscan(string(statm), &size, &pages); err != nil {
		return 0, fmt.Errorf("/proc/%d/statm: %w", p.cmd.Process.Pid, err)
	}
	return float64(pages) * float64(os.Getpagesize()) / (1 << 20), nil
}

// serveHello is the floor of every HTTP server here: net/http and nothing else.
func serveHello() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("hello\n"))
	}))
}
