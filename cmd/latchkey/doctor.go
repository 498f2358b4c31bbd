package main

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/latchkey-ace/latchkey/cmd/internal/command"
	"github.com/spf13/cobra"
)

// finding is what one check saw, and what to do about it.
type finding struct {
	Check  string `json:"check"`
	Status status `json:"status"`
	Saw    string `json:"saw"`
	Cure   string `json:"cure,omitempty"`
}

type status string

const (
	ok   status = "ok"
	warn status = "warn" // works, but not for long or not well
	fail status = "fail" // does not work, or is not safe
)

func good(check, saw string, args ...any) finding {
	return finding{Check: check, Status: ok, Saw: fmt.Sprintf(saw, args...)}
}

func bad(check string, s status, cure, saw string, args ...any) finding {
	return finding{Check: check, Status: s, Saw: fmt.Sprintf(saw, args...), Cure: cure}
}

// exam is one look at a server's folder, whether a server runs on it or not.
type exam struct {
	dir     string
	config  config // the defaults where it cannot be read
	broken  error  // why it cannot
	running bool   // a server serves the folder
	now     func() time.Time
}

func examine(dir string, given flags) *exam {
	e := &exam{dir: dir, now: time.Now}
	e.config, e.broken = readConfig(dir, given)
	e.running = served(dir)
	return e
}

// run looks at the folder and then makes the checks in order. Where there is no folder, or no configuration to be read,
// it ends there: the rest would only say the same.
func (e *exam) run(ctx context.Context, checks ...func(context.Context) []finding) []finding {
	all, there := e.checkFolder()
	if !there {
		return all
	}
	if e.broken != nil {
		checks = checks[:1]
	}
	for _, check := range checks {
		all = append(all, check(ctx)...)
	}
	return all
}

func (t *tool) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is wrong with a server's folder and its surroundings, and say the cure",
		Long: "Checks folder, configuration, keys, clock, store, certificate, addresses, the issuer's address and the disk, and changes neither settings nor records.\n" +
			"It may be run beside a running server. It ends with 1 if a check fails.",
		Example: "  latchkey doctor --data ./data\n  latchkey doctor --data ./data --json",
		Args:    command.None,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if t.data == "" {
				return errNoData
			}
			e := examine(t.data, nil)
			return t.report(cmd, e.run(cmd.Context(), e.checkConfig, e.checkKey, e.checkClock, e.checkStore, e.checkCertificate, e.checkClientCA, e.checkAttesters, e.checkAddresses, e.checkIssuer, e.checkDisk))
		},
	}
}

// report prints the findings; a failed one makes the command fail.
func (t *tool) report(cmd *cobra.Command, all []finding) error {
	failed := 0
	var text strings.Builder
	for _, f := range all {
		if f.Status == fail {
			failed++
		}
		fmt.Fprintf(&text, "%-5s %-12s %s\n", f.Status, f.Check, f.Saw)
		if f.Cure != "" {
			fmt.Fprintf(&text, "      %-12s → %s\n", "", f.Cure)
		}
	}
	if err := t.say(cmd.OutOrStdout(), map[string]any{"ok": failed == 0, "checks": all}, "%s", strings.TrimSuffix(text.String(), "\n")); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d checks failed", failed, len(all))
	}
	return nil
}

// served tells whether a server answers on the folder's socket.
func served(dir string) bool {
	conn, err := net.DialTimeout("unix", filepath.Join(dir, socketFile), readyTime)
	if err != nil {
		return false
	}
	_ = conn.Close() // nothing was said
	return true
}
