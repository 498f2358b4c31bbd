package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/cmd/internal/command"
	"github.com/spf13/cobra"
)

const (
	followPause   = time.Second // between two looks
	followOverlap = 1000        // ids looked at again: a node may commit a row after another node's later one
	maxHeads      = 1 << 20     // bytes of a file of heads
)

// auditLine is one decision in JSON.
type auditLine struct {
	ID     int64     `json:"id"`
	At     time.Time `json:"at"`
	Event  string    `json:"event"`
	Result string    `json:"result"`
	Reason string    `json:"reason"`
	Client string    `json:"client"`
	User   string    `json:"user"`
	Device string    `json:"device"`
	Grant  string    `json:"grant"`
}

func auditLineOf(r authz.AuditRecord) auditLine {
	e := r.AuditEntry
	return auditLine{r.ID, e.At, e.Event, e.Result, e.Reason, e.Client, e.User, e.Device, grantName(e.Grant)}
}

func (l auditLine) String() string {
	return fmt.Sprintf("%s  %-12s %-8s client=%s user=%s device=%s %s", when(l.At, ""), l.Event, l.Result, l.Client, l.User, l.Device, l.Reason)
}

// tailFlags are the flags of audit tail.
type tailFlags struct {
	lines                                     int
	grant, client, user, device, event, since string
	follow                                    bool
}

func (t *tool) auditCommand() *cobra.Command {
	var f tailFlags
	tail := &cobra.Command{
		Use:     "tail",
		Short:   "Show the newest decisions",
		Example: "  latchkey audit tail -n 20\n  latchkey audit tail --device front-door --since 2h",
		Args:    command.None,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.lines < 1 {
				return errors.New("--lines: give a number above 0")
			}
			return t.showAudit(cmd, f)
		},
	}
	tail.Flags().IntVarP(&f.lines, "lines", "n", 50, "how many")
	tail.Flags().StringVar(&f.grant, "grant", "", "of this grant only")
	tail.Flags().StringVar(&f.client, "client", "", "of this app only")
	tail.Flags().StringVar(&f.user, "user", "", "of this person only")
	tail.Flags().StringVar(&f.device, "device", "", "of this device only, by name or audience")
	tail.Flags().StringVar(&f.event, "event", "", "of this kind only: token, login, grant.revoke …")
	tail.Flags().StringVar(&f.since, "since", "", "not older than this: 2h, or 2026-12-24T18:00:00Z")
	tail.Flags().BoolVarP(&f.follow, "follow", "f", false, "go on showing what is decided, until interrupted")
	return command.Group("audit", "Decisions", "  latchkey audit tail", tail, t.verifyCommand())
}

func (t *tool) showAudit(cmd *cobra.Command, f tailFlags) error {
	h, err := t.open(cmd.Context())
	if err != nil {
		return err
	}
	defer h.Close()
	q, err := h.auditQuery(cmd.Context(), f)
	if err != nil {
		return err
	}
	records, err := h.store.AuditFind(cmd.Context(), q)
	if err != nil {
		return err
	}
	if f.follow {
		return t.follow(cmd, h, q, records)
	}
	lines, words := []auditLine{}, []string{}
	for _, r := range records {
		lines = append(lines, auditLineOf(r))
		words = append(words, auditLineOf(r).String())
	}
	return t.say(cmd.OutOrStdout(), lines, "%s", orNone(words, "no decisions yet"))
}

// auditQuery reads the flags; names of devices are looked up, because the log knows audiences.
func (h *house) auditQuery(ctx context.Context, f tailFlags) (q authz.AuditQuery, err error) {
	q = authz.AuditQuery{Client: f.client, User: f.user, Device: f.device, Event: f.event, Limit: f.lines}
	if f.grant != "" {
		if q.Grant, err = parseGrant(f.grant); err != nil {
			return q, err
		}
	}
	if q.Since, err = parseSince(f.since, time.Now()); err != nil {
		return q, err
	}
	if f.device == "" {
		return q, nil
	}
	d, err := h.store.DeviceByName(ctx, f.device)
	if err == nil {
		q.Device = d.Audience()
	} else if errors.Is(err, authz.ErrNotFound) {
		err = nil // an audience, also of a device that is gone
	}
	return q, err
}

// note records what the operator has decided by a command.
func (h *house) note(ctx context.Context, e authz.AuditEntry) error {
	e.At, e.Result = time.Now(), "granted"
	if err := h.store.Record(ctx, e); err != nil {
		return fmt.Errorf("done, but not on record: %w", err)
	}
	return nil
}

func parseSince(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, s); err == nil {
		return at, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("--since %q: write 2h or 2026-12-24T18:00:00Z", s)
}

// follow shows each record once, in the order in which it is seen, until the command is interrupted.
func (t *tool) follow(cmd *cobra.Command, h *house, q authz.AuditQuery, records []authz.AuditRecord) error {
	ctx, seen, last := cmd.Context(), map[int64]bool{}, int64(0)
	tick := time.NewTicker(followPause)
	defer tick.Stop()
	for {
		for _, r := range records {
			if seen[r.ID] {
				continue
			}
			seen[r.ID], last = true, max(last, r.ID)
			if err := t.say(cmd.OutOrStdout(), auditLineOf(r), "%s", auditLineOf(r)); err != nil {
				return err
			}
		}
		for id := range seen {
			if id <= last-followOverlap {
				delete(seen, id)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		var err error
		if q.After, q.Limit = firstNew(seen, last), followOverlap; last > 0 {
			q.Since = time.Time{}
		}
		if records, err = h.store.AuditFind(ctx, q); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

// firstNew is the id after which to look: a little back, but not before what was shown first.
func firstNew(seen map[int64]bool, last int64) int64 {
	first := last
	for id := range seen {
		first = min(first, id)
	}
	return max(first, last-followOverlap)
}

func (t *tool) verifyCommand() *cobra.Command {
	var head bool
	var against string
	verify := &cobra.Command{
		Use:   "verify",
		Short: "Check that no decision was changed, removed, moved or put in",
		Long: "Walks the whole log and checks the chains that bind it under the store key. The first entry that does not fit ends it\n" +
			"with an error. --head also prints how far the chains have come: keep that elsewhere, and give it to --against later,\n" +
			"because somebody who can write the database could cut off the end together with all that it remembers of it.",
		Example: "  latchkey audit verify\n  latchkey audit verify --head > heads.txt\n  latchkey audit verify --against heads.txt",
		Args:    command.None,
		RunE:    func(cmd *cobra.Command, _ []string) error { return t.verifyAudit(cmd, head, against) },
	}
	verify.Flags().BoolVar(&head, "head", false, "print the heads of the chains")
	verify.Flags().StringVar(&against, "against", "", "a file of heads that was printed before")
	return verify
}

// headLine is the head of a chain in JSON.
type headLine struct {
	Chain  int64  `json:"chain"`
	Number int64  `json:"number"`
	Link   string `json:"link"`
}

func (t *tool) verifyAudit(cmd *cobra.Command, head bool, against string) error {
	var kept []authz.AuditHead
	if against != "" {
		f, err := os.Open(against)
		if err != nil {
			return fmt.Errorf("--against: %w", err)
		}
		defer f.Close()
		if kept, err = readHeads(io.LimitReader(f, maxHeads)); err != nil {
			return fmt.Errorf("--against %s: %w", against, err)
		}
	}
	h, err := t.open(cmd.Context())
	if err != nil {
		return err
	}
	defer h.Close()
	report, err := h.store.VerifyAudit(cmd.Context(), kept...)
	if err != nil {
		return err
	}
	heads := []headLine{}
	words := []string{fmt.Sprintf("the audit log is whole: %d entries", report.Entries)}
	if report.Pruned {
		words[0] += ", older ones were removed by their age"
	}
	for _, at := range report.Heads {
		if head {
			heads = append(heads, headLine{at.Chain, at.Number, hex.EncodeToString(at.Link)})
			words = append(words, fmt.Sprintf("head %d %d %x", at.Chain, at.Number, at.Link))
		}
	}
	return t.say(cmd.OutOrStdout(), map[string]any{"entries": report.Entries, "pruned": report.Pruned, "heads": heads}, "%s", strings.Join(words, "\n"))
}

// readHeads reads what verify --head printed.
func readHeads(r io.Reader) (heads []authz.AuditHead, err error) {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		text, is := strings.CutPrefix(lines.Text(), "head ")
		if !is {
			continue
		}
		var h authz.AuditHead
		var link string
		if n, err := fmt.Sscanf(text, "%d %d %s", &h.Chain, &h.Number, &link); err != nil || n != 3 {
			return nil, fmt.Errorf("%q is no head", text)
		}
		if h.Link, err = hex.DecodeString(link); err != nil || h.Chain < 1 || h.Number < 0 {
			return nil, fmt.Errorf("%q is no head", text)
		}
		heads = append(heads, h)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(heads) == 0 {
		return nil, errors.New("it holds no heads; latchkey audit verify --head prints them")
	}
	return heads, nil
}
