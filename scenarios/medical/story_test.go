package medical_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/latchkey-ace/latchkey/scenarios/medical"
	"github.com/latchkey-ace/latchkey/scenarios/stage"
)

var bin string

func TestMain(m *testing.M) {
	os.Exit(stage.WithPrograms(func(dir string) int {
		bin = dir
		return m.Run()
	}))
}

func newStory(t *testing.T, shape string) *medical.Story {
	t.Helper()
	s, err := stage.New(t.Context(), stage.Options{Bin: bin, Dir: t.TempDir(), Out: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return medical.New(s, shape)
}

func TestStoryInEachTokenShape(t *testing.T) {
	for _, shape := range []string{"encrypt0", "sign1", "sign1-ecdh", "jwt"} {
		t.Run(shape, func(t *testing.T) {
			s := newStory(t, shape)
			for i, step := range medical.Steps {
				if err := step.Do(t.Context(), s); err != nil {
					t.Fatalf("step %d, %s: %v", i+1, step.Says, err)
				}
			}
			neverOnline(t, s)
		})
	}
}

// neverOnline looks at the monitor's open files: nothing but its radio, a unix socket.
func neverOnline(t *testing.T, s *medical.Story) {
	t.Helper()
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		data, err := os.ReadFile("/proc/net/" + table)
		if err != nil {
			t.Fatal(err)
		}
		for _, inode := range socketInodes(t, s.Monitor().PID()) {
			if strings.Contains(string(data), " "+inode+" ") {
				t.Errorf("the monitor has a %s socket", table)
			}
		}
	}
}

func socketInodes(t *testing.T, pid int) (inodes []string) {
	t.Helper()
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(links) == 0 {
		t.Fatalf("open files of %d: %v", pid, err)
	}
	for _, link := range links {
		target, err := os.Readlink(link)
		if inode, ok := strings.CutPrefix(target, "socket:["); err == nil && ok {
			inodes = append(inodes, strings.TrimSuffix(inode, "]"))
		}
	}
	if len(inodes) == 0 {
		t.Fatal("the monitor has no socket at all")
	}
	return inodes
}

// TestSocketInodesAreFound proves that neverOnline could fail: a socket of this process is found in the tables.
func TestSocketInodesAreFound(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	data, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	for _, inode := range socketInodes(t, os.Getpid()) {
		if strings.Contains(string(data), " "+inode+" ") {
			return
		}
	}
	t.Error("a listening socket of our own was not found")
}

var victims = []stage.Victim[*medical.Story]{
	{Name: "server", Process: func(s *medical.Story) *stage.Process { return s.Server() }, Restart: func(s *medical.Story) error { return s.NeedServer() }},
	{Name: "monitor", Process: (*medical.Story).Monitor, Restart: (*medical.Story).NeedMonitor},
}

// TestKillDuringEachStep kills each process during each step, restarts it, does the step again and finishes the story.
func TestKillDuringEachStep(t *testing.T) {
	for at := range medical.Steps {
		for _, v := range victims {
			t.Run(fmt.Sprintf("step %d %s", at+1, v.Name), func(t *testing.T) {
				s := newStory(t, "sign1-ecdh")
				for i, step := range medical.Steps {
					if i != at {
						if err := step.Do(t.Context(), s); err != nil {
							t.Fatalf("step %d, %s: %v", i+1, step.Says, err)
						}
						continue
					}
					result, err := stage.Cut(t.Context(), s, step, v)
					if err != nil {
						t.Fatalf("step %d, %s: %v", i+1, step.Says, err)
					}
					t.Logf("step %2d  %-7s  %s", i+1, v.Name, result)
				}
			})
		}
	}
}
