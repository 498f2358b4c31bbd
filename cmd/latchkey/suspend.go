package main

import (
	"context"
	"fmt"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/cmd/internal/command"
	"github.com/spf13/cobra"
)

// party finds what a suspend or resume command names.
type party struct {
	kind, arg, example string
	find               func(ctx context.Context, h *house, name string) (authz.Party, error)
}

var parties = map[string]party{
	"user": {"user", "NAME", "alice", func(_ context.Context, _ *house, name string) (authz.Party, error) {
		return authz.Party{User: name}, nil
	}},
	"client": {"client", "ID", "gateway", func(_ context.Context, _ *house, id string) (authz.Party, error) {
		return authz.Party{Client: id}, nil
	}},
	"device": {"device", "NAME", "front-door", func(ctx context.Context, h *house, name string) (authz.Party, error) {
		d, err := h.store.DeviceByName(ctx, name)
		return authz.Party{Device: d.ID}, err
	}},
	"grant": {"grant", "GRANT", "6a00000000000001", func(_ context.Context, _ *house, name string) (authz.Party, error) {
		id, err := parseGrant(name)
		return authz.Party{Grant: id}, err
	}},
}

// withStanding adds suspend and resume to the commands of a kind of party.
func (t *tool) withStanding(group *cobra.Command) *cobra.Command {
	p := parties[group.Name()]
	var reason string
	var end bool
	suspend := &cobra.Command{
		Use:   "suspend " + p.arg,
		Short: "Stop new tokens until resume",
		Long: "From its answer on nothing new is minted that the " + p.kind + " has a part in. What is out works until it ends;\n" +
			"--end ends it, for devices when they hear of it.",
		Example: "  latchkey " + p.kind + " suspend " + p.example + " --reason 'phone lost'\n  latchkey " + p.kind + " suspend " + p.example + " --end",
		Args:    command.One,
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.stand(cmd, p, args[0], standing{suspended: true, reason: reason, end: end})
		},
	}
	suspend.Flags().BoolVar(&end, "end", false, "also end the tokens and refresh tokens that are out")
	resume := &cobra.Command{
		Use:     "resume " + p.arg,
		Short:   "Let it go on after suspend",
		Example: "  latchkey " + p.kind + " resume " + p.example,
		Args:    command.One,
		RunE: func(cmd *cobra.Command, args []string) error {
			return t.stand(cmd, p, args[0], standing{reason: reason})
		},
	}
	for _, c := range []*cobra.Command{suspend, resume} {
		c.Flags().StringVar(&reason, "reason", "", "for the audit log; no secrets")
		group.AddCommand(c)
	}
	return group
}

// standing is what a party is to be from now on.
type standing struct {
	suspended, end bool
	reason         string
}

// stand works on the store, with or without a running server: it is there that mints look.
func (t *tool) stand(cmd *cobra.Command, p party, name string, to standing) error {
	h, err := t.open(cmd.Context())
	if err != nil {
		return err
	}
	defer h.Close()
	who, err := p.find(cmd.Context(), h, name)
	change, word := h.server.Resume, "goes on"
	if to.suspended {
		change, word = h.server.Suspend, "is suspended: it mints nothing"
	}
	if err == nil {
		err = change(cmd.Context(), who, to.reason)
	}
	if err != nil {
		return orUnknown(err, "there is no "+p.kind+" %q; latchkey "+p.kind+" --help", name)
	}
	ended := 0
	if to.end {
		if ended, err = h.server.EndTokens(cmd.Context(), who); err != nil {
			return fmt.Errorf("%s %s, but its tokens may still work: %w", p.kind, word, err)
		}
		word += fmt.Sprintf("; %d tokens ended", ended)
	}
	return t.say(cmd.OutOrStdout(), map[string]any{p.kind: name, "suspended": to.suspended, "ended": ended}, "%s %s %s", p.kind, name, word)
}
