package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/latchkey-ace/latchkey/authz"
	"github.com/latchkey-ace/latchkey/cmd/internal/command"
	"github.com/spf13/cobra"
)

func (t *tool) keysCommand() *cobra.Command {
	list := &cobra.Command{
		Use:     "list",
		Short:   "List the keys that tokens are signed with",
		Long:    "Lists the keys, newest first, with how many devices know no newer one. Private halves are never shown.",
		Example: "  latchkey keys list\n  latchkey keys list --json",
		Args:    command.None,
		RunE:    func(cmd *cobra.Command, _ []string) error { return t.listKeys(cmd) },
	}
	rotate := &cobra.Command{
		Use:   "rotate",
		Short: "Let the next key sign",
		Long: "Keys rotate by themselves every 90 days. This lets the next one sign as soon as everyone who keeps the published keys\n" +
			"can know it, and publishes the one after it. A running server notices within seconds. Tokens that are out stay good, and\n" +
			"devices that learn no keys are signed for with one they know.",
		Example: "  latchkey keys rotate",
		Args:    command.None,
		RunE:    func(cmd *cobra.Command, _ []string) error { return t.rotateKeys(cmd) },
	}
	compromise := &cobra.Command{
		Use:   "compromise KID…",
		Short: "Withdraw keys that are no longer secret",
		Long: "Withdraws the keys at once: they leave the published set, nothing that they signed is active, every token that they signed\n" +
			"is revoked, and another key signs. A running server notices within seconds, and devices that it reaches are told of the\n" +
			"revoked tokens. A device takes what a thief signs with a key it was provisioned with until it gets a new provisioning\n" +
			"file; the answer names those devices. Give all keys that may be known at once: who has read the store has the waiting one too.",
		Example: "  latchkey keys compromise 1\n  latchkey keys compromise 1 2 --json",
		Args:    cobra.MinimumNArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return t.compromiseKeys(cmd, args) },
	}
	return command.Group("keys", "The keys that tokens are signed with", "  latchkey keys list", list, rotate, compromise)
}

// keyLine is one line of keys list, and the answer to keys rotate.
type keyLine struct {
	ID        string    `json:"id"`
	State     string    `json:"state"`
	Published time.Time `json:"published"`
	From      time.Time `json:"from"`
	Until     time.Time `json:"until,omitzero"`
	Withdrawn time.Time `json:"withdrawn,omitzero"`
	Devices   int       `json:"devices"`
}

func keyLineOf(k authz.KeyInfo) keyLine {
	return keyLine{ID: k.ID, State: string(k.State), Published: k.Published, From: k.From, Until: k.Until, Withdrawn: k.Withdrawn, Devices: k.Devices}
}

// says is what the state of a key means.
func (k keyLine) says() string {
	switch authz.KeyState(k.State) {
	case authz.KeyWaits:
		return "signs from " + when(k.From, "")
	case authz.KeySigns:
		return "signs until " + when(k.Until, "the next one does")
	case authz.KeyVerifies:
		return "signed until " + when(k.Until, "") + ", still published"
	case authz.KeyWithdrawn:
		return "withdrawn " + when(k.Withdrawn, "")
	case authz.KeyOver:
	}
	return "signed until " + when(k.Until, "") + ", not published any more"
}

func (t *tool) listKeys(cmd *cobra.Command) error {
	h, err := t.open(cmd.Context())
	if err != nil {
		return err
	}
	defer h.Close()
	keys, err := h.server.Keys(cmd.Context())
	if err != nil {
		return err
	}
	lines, words := []keyLine{}, []string{}
	for _, k := range keys {
		line := keyLineOf(k)
		lines = append(lines, line)
		text := fmt.Sprintf("%s  %s", k.ID, line.says())
		if k.Devices > 0 {
			text += fmt.Sprintf("; newest key of %d devices", k.Devices)
		}
		words = append(words, text)
	}
	return t.say(cmd.OutOrStdout(), lines, "%s", orNone(words, "no keys"))
}

func (t *tool) rotateKeys(cmd *cobra.Command) error {
	h, err := t.open(cmd.Context())
	if err != nil {
		return err
	}
	defer h.Close()
	k, err := h.server.RotateKeys(cmd.Context())
	if err != nil {
		return err
	}
	return t.say(cmd.OutOrStdout(), keyLineOf(k), "key %s %s", k.ID, map[bool]string{true: "signs now", false: "signs from " + when(k.From, "")}[k.State == authz.KeySigns])
}

// compromised is the answer to keys compromise.
type compromised struct {
	Withdrawn []string `json:"withdrawn"`
	Signs     string   `json:"signs"`
	Tokens    int      `json:"tokens"`
	Devices   []string `json:"devices"`
	Mute      []string `json:"mute"`
}

func (t *tool) compromiseKeys(cmd *cobra.Command, ids []string) error {
	h, err := t.open(cmd.Context())
	if err != nil {
		return err
	}
	defer h.Close()
	c, err := h.server.CompromiseKeys(cmd.Context(), ids...)
	if err != nil {
		return fmt.Errorf("%w; latchkey keys list shows the keys", err)
	}
	out := compromised{Withdrawn: c.Withdrawn, Signs: c.Signs, Tokens: c.Tokens, Devices: append([]string{}, c.Devices...), Mute: append([]string{}, c.Mute...)}
	text := fmt.Sprintf("withdrew %s; key %s signs now; %d tokens are revoked", strings.Join(c.Withdrawn, ", "), c.Signs, c.Tokens)
	if len(c.Devices) > 0 {
		text += "\nthese devices take what is signed with a withdrawn key until they get a new provisioning file: " + strings.Join(c.Devices, " ")
	}
	if len(c.Mute) > 0 {
		text += "\nfor these no tokens are made until then: " + strings.Join(c.Mute, " ")
	}
	return t.say(cmd.OutOrStdout(), out, "%s", text)
}
