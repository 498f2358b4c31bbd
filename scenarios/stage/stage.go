// Package stage sets up what a story needs and runs it: the real programs as separate processes on loopback, a folder
// for everything they keep, and a relay that sees the air between phone and lock. It knows no protocol beyond showing
// messages. Start from New.
package stage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// runTime bounds one short-lived command.
const runTime = 30 * time.Second

// Options of a Stage.
type Options struct {
	Bin     string    // folder of the programs
	Dir     string    // empty folder for everything
	Out     io.Writer // where the story is told
	Verbose bool      // show messages decoded
	DB      string    // postgres://… instead of the built-in store
	App     string    // the phone app as it was published; default the program of Bin
	Public  bool      // the phone app is a public client: nobody vouches for it
}

// Stage is one house: a server, its devices and its people. It is safe for concurrent use, but a story's steps come one
// after the other.
type Stage struct {
	Options
	HTTP string // host:port
	CoAP string

	Attester string // the address of who vouches for the phone app

	air       overheard // what was said since the last time it was told
	mu        sync.Mutex
	server    *Process // replaced when it is started again
	attester  *Process
	processes []*Process
}

// Server is the server's process; nil before it first started.
func (s *Stage) Server() *Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.server
}

// New chooses free ports and makes the server's folder.
func New(ctx context.Context, o Options) (*Stage, error) {
	s := &Stage{Options: o}
	var err error
	if s.HTTP, err = FreePort("tcp"); err != nil {
		return nil, err
	}
	if s.CoAP, err = FreePort("udp"); err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(s.HTTP)
	if err != nil {
		return nil, err
	}
	_, err = s.Latchkey(ctx, "", "init", "--issuer", "http://localhost:"+port, "--http", s.HTTP, "--coap", s.CoAP, "--db", s.DB, "--attesters", s.Path(attestersFile))
	if err != nil {
		return s, err
	}
	return s, s.trustAttester()
}

// Issuer is the server's address for apps.
func (s *Stage) Issuer() string {
	_, port, _ := net.SplitHostPort(s.HTTP)
	return "http://localhost:" + port
}

// FreePort finds a loopback address nobody listens on now.
func FreePort(network string) (string, error) {
	if network == "udp" {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		defer c.Close()
		return c.LocalAddr().String(), nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// Path names a file of the stage.
func (s *Stage) Path(name ...string) string {
	return filepath.Join(append([]string{s.Dir}, name...)...)
}

// RunError is a command that ended badly.
type RunError struct {
	Command string
	Stdout  string
	Stderr  string
}

func (e *RunError) Error() string {
	return fmt.Sprintf("%s: %s", e.Command, strings.TrimSpace(e.Stderr))
}

// Run runs one program to its end and returns what it printed.
func (s *Stage) Run(ctx context.Context, stdin, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, runTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.Program(program), args...)
	cmd.Env = cleanEnvironment()
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if program == "phone" {
		cmd.Stderr = io.MultiWriter(&errs, &s.air)
	}
	err := cmd.Run()
	if err != nil {
		return out.String(), &RunError{Command: program + " " + strings.Join(args, " "), Stdout: out.String(), Stderr: errs.String()}
	}
	return out.String(), nil
}

// cleanEnvironment keeps the operator's own LATCHKEY_ settings out of the story.
func cleanEnvironment() []string {
	var env []string
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "LATCHKEY_") {
			env = append(env, pair)
		}
	}
	return env
}

// Latchkey runs the server's tool on the stage's folder.
func (s *Stage) Latchkey(ctx context.Context, stdin string, args ...string) (string, error) {
	return s.Run(ctx, stdin, "latchkey", append(args, "--data", s.Path("server"))...)
}

// LatchkeyJSON is Latchkey with an answer in JSON.
func (s *Stage) LatchkeyJSON(ctx context.Context, answer any, args ...string) error {
	out, err := s.Latchkey(ctx, "", append(args, "--json")...)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(out), answer)
}

// Phone runs one person's phone.
func (s *Stage) Phone(ctx context.Context, person, stdin string, args ...string) (string, error) {
	if args[0] == "login" && !s.Public {
		args = append(args, "--attester", s.Attester, "--app", App)
	}
	args = append(args, "--state", s.Path("phone-"+person), "-v")
	if s.Verbose {
		args = append(args, "-v")
	}
	return s.Run(ctx, stdin, "phone", args...)
}

// StartServer starts or restarts the authorization server, and who vouches for its app unless they run.
func (s *Stage) StartServer() error {
	if err := s.needAttester(); err != nil {
		return err
	}
	p, err := s.start("latchkey", "serving ", "serve", "--data", s.Path("server"))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.server = p
	return err
}

// StartLock starts or restarts a lock from its provisioning file, with more flags if need be, and waits until it has
// registered.
func (s *Stage) StartLock(name, listen string, flags ...string) (*Process, error) {
	args := []string{"--json", "-v", "--provision", s.Path(name + ".lkp"), "--listen", listen, "--state", s.Path(name + "-state")}
	return s.start("doorlock", `"event":"registered"`, append(args, flags...)...)
}

// StartMonitor starts or restarts a medical device.
func (s *Stage) StartMonitor(name string) (*Process, error) {
	return s.start("healthmonitor", `"event":"listening"`, "--json", "--provision", s.Path(name+".lkp"), "--link", "unix:"+s.Path(name+".sock"), "--state", s.Path(name+"-state"))
}

// Start starts a program and waits until it says that it is ready.
func (s *Stage) Start(program, ready string, args ...string) (*Process, error) {
	return s.start(program, ready, args...)
}

func (s *Stage) start(program, ready string, args ...string) (*Process, error) {
	p, err := startProcess(s, s.Program(program), args...)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.processes = append(s.processes, p)
	s.mu.Unlock()
	if !p.Await(ready, 10*time.Second) {
		p.Kill()
		return nil, fmt.Errorf("%s did not say %q in time:\n%s", program, ready, p.Output())
	}
	return p, nil
}

// Close ends every process.
func (s *Stage) Close() {
	for _, p := range s.processes {
		p.Stop()
	}
}

// ErrNotYet says that something awaited did not happen.
var ErrNotYet = errors.New("did not happen in time")

// Eventually asks until yes or the time is over.
func Eventually(within time.Duration, ask func() bool) error {
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ask() {
			return nil
		}
	}
	return ErrNotYet
}
