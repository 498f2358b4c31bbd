// Package pgtest gives tests a PostgreSQL of their own: one server for a test binary, an empty schema for each test.
//
// A package that uses it has func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }. The server ends with the test
// binary, however that ends. Start from Start.
package pgtest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const startTime = 30 * time.Second // of a server on a busy machine; it takes one

var (
	inUse     atomic.Bool // Main runs
	schemas   atomic.Int64
	theServer = sync.OnceValues(start)
)

// Main runs the tests and then stops the server, if a test has started it.
func Main(m *testing.M) int {
	inUse.Store(true)
	status := m.Run()
	if schemas.Load() > 0 {
		if s, err := theServer(); err == nil {
			s.stop()
		}
	}
	return status
}

// Start makes an empty schema and returns a postgres:// URL by which a client sees nothing else. A database for each
// test would cost some hundred fsyncs. Where PostgreSQL is not installed the test fails.
func Start(t *testing.T) string {
	t.Helper()
	return Schema(t)
}

// Schema is Start for benchmarks too.
func Schema(t testing.TB) string {
	t.Helper()
	if !inUse.Load() {
		t.Fatal("pgtest without pgtest.Main in TestMain: nobody would stop the server")
	}
	schema := fmt.Sprintf("test%d", schemas.Add(1))
	s, err := theServer()
	if err == nil {
		err = s.run("psql", "-q", "-h", "127.0.0.1", "-p", s.port, "-U", "postgres", "-c", "CREATE SCHEMA "+schema)
	}
	if err != nil {
		t.Fatalf("PostgreSQL for tests: %v", err)
	}
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%s/postgres?sslmode=disable&search_path=%s", s.port, schema)
}

// server is a running PostgreSQL.
type server struct {
	bin, dir, port string
	as             *syscall.Credential // nil: this user
	process        *exec.Cmd
	ended          chan error
}

func start() (*server, error) {
	s := &server{ended: make(chan error, 1)}
	if err := s.find(); err != nil {
		return nil, err
	}
	if err := s.make(); err != nil {
		return nil, err
	}
	if err := s.serve(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(s.dir))
	}
	return s, nil
}

// find looks for the programs and for the user to run them as: PostgreSQL refuses to be root.
func (s *server) find() error {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return errors.New("it is not installed: apt-get install postgresql-15")
	}
	slices.Sort(found)
	s.bin = filepath.Dir(found[len(found)-1])
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return fmt.Errorf("user of package postgresql-15: %w", err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	s.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return errors.Join(err1, err2)
}

// make sets up a cluster.
func (s *server) make() error {
	if err := s.place(); err != nil {
		return err
	}
	return s.run("initdb", "-D", s.data(), "-A", "trust", "-U", "postgres", "--no-sync", "--no-locale", "-E", "UTF8")
}

// place finds a folder and a port. The test's own temporary directory will not do: another user cannot enter it.
func (s *server) place() (err error) {
	if s.dir, err = os.MkdirTemp("", "latchkey-postgres-"); err != nil {
		return err
	}
	if s.as != nil {
		if err := os.Chown(s.dir, int(s.as.Uid), int(s.as.Gid)); err != nil {
			return err
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	_, s.port, err = net.SplitHostPort(l.Addr().String())
	return errors.Join(err, l.Close())
}

func (s *server) data() string { return filepath.Join(s.dir, "data") }

// serve starts the server and waits until it answers. fsync stays on: the contract is about durable commits.
func (s *server) serve() error {
	s.process = s.command("postgres", "-D", s.data(), "-p", s.port, "-k", s.dir,
		"-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200")
	s.process.SysProcAttr.Pdeathsig = syscall.SIGQUIT
	started := make(chan error)
	go func() {
		// The signal comes at the death of the thread that started the process, so that thread stays. It must not end with
		// this goroutine either: it may have started other processes before, of the same kind.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := s.process.Start()
		started <- err
		if err == nil {
			s.ended <- s.process.Wait()
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	for deadline := time.Now().Add(startTime); ; time.Sleep(20 * time.Millisecond) {
		if err := s.run("pg_isready", "-q", "-h", "127.0.0.1", "-p", s.port); err == nil {
			return nil
		} else if time.Now().After(deadline) {
			s.stop()
			return fmt.Errorf("no answer in %v: %w", startTime, err)
		}
	}
}

// stop ends the server without the last writes to disk, which nobody will read.
func (s *server) stop() {
	s.halt()
	s.stopped()
}

// stopped forgets a server that has ended.
func (s *server) stopped() { _ = os.RemoveAll(s.dir) }

// halt ends the server as a crash would.
func (s *server) halt() {
	_ = s.process.Process.Signal(syscall.SIGQUIT)
	<-s.ended
}

func (s *server) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(s.bin, program), args...)
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.as}
	return cmd
}

func (s *server) run(program string, args ...string) error {
	if out, err := s.command(program, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, out)
	}
	return nil
}
