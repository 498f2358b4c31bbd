package stage

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Programs are what a stage runs.
var Programs = []string{"latchkey", "doorlock", "healthmonitor", "phone"}

// Build builds the programs into dir, with build tags if there are any.
func Build(dir string, tags ...string) error {
	args := []string{"build", "-o", dir + "/", "-tags", strings.Join(tags, ",")}
	for _, p := range Programs {
		args = append(args, "github.com/latchkey-ace/latchkey/cmd/"+p)
	}
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	return nil
}

// WithPrograms builds the programs into a folder of their own, runs and removes it: what a TestMain needs. It returns
// run's exit code.
func WithPrograms(run func(bin string) int) int {
	dir, err := os.MkdirTemp("", "latchkey-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := Build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return run(dir)
}
