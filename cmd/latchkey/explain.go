package main

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/latchkey-ace/latchkey/cmd/internal/command"
	"github.com/spf13/cobra"
)

func (t *tool) configCommand() *cobra.Command {
	return command.Group("config", "Check and explain the configuration", "  latchkey config explain --data ./data",
		t.configValidateCommand(), t.configExplainCommand())
}

func (t *tool) configValidateCommand() *cobra.Command {
	var given flags
	cmd := &cobra.Command{
		Use:   "validate",
		Short: "Check all that serve would check, without serving",
		Long: "Checks the settings, the files they name with their permissions, and that the addresses can be served. Flags are those of serve.\n" +
			"It ends with 1 if serve would not start.",
		Example: "  latchkey config validate --data ./data\n  latchkey config validate --data ./data --http 127.0.0.1:9090 --json",
		Args:    command.None,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if t.data == "" {
				return errNoData
			}
			e := examine(t.data, given)
			return t.report(cmd, e.run(cmd.Context(), e.checkConfig, e.checkKey, e.checkCertificate, e.checkClientCA, e.checkAttesters, e.checkAddresses))
		},
	}
	given = settingFlags(cmd)
	return cmd
}

// explained is one setting for people.
type explained struct {
	Setting  string `json:"setting"`
	Value    string `json:"value"`
	From     string `json:"from"`
	Default  string `json:"default"`
	Variable string `json:"variable"`
	Flag     string `json:"flag"`
	Means    string `json:"means"`
}

func (t *tool) configExplainCommand() *cobra.Command {
	var given flags
	cmd := &cobra.Command{
		Use:     "explain",
		Short:   "Show each setting: its value, where that is from, and what it means",
		Long:    "Shows what serve would use with the same flags, variables and file. Passwords are left out.",
		Example: "  latchkey config explain --data ./data\n  latchkey config explain --data ./data --json",
		Args:    command.None,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if t.data == "" {
				return errNoData
			}
			c, err := readConfig(t.data, given)
			if err != nil {
				return err
			}
			all := c.explain()
			var text strings.Builder
			for _, s := range all {
				fmt.Fprintf(&text, "%s = %s\n    from %s; default %s; %s or --%s\n    %s\n", s.Setting, cmp.Or(s.Value, "(none)"), s.From, cmp.Or(s.Default, "(none)"), s.Variable, s.Flag, s.Means)
			}
			return t.say(cmd.OutOrStdout(), all, "%s", strings.TrimSuffix(text.String(), "\n"))
		},
	}
	given = settingFlags(cmd)
	return cmd
}

func (c *config) explain() []explained {
	usual := defaults()
	defaultOf := usual.settings()
	var all []explained
	for i, s := range c.settings() {
		from, ok := c.from[s.name]
		if !ok {
			from = "the default"
		}
		all = append(all, explained{
			Setting: s.name, Value: s.text(), From: from, Default: defaultOf[i].text(), Variable: s.variable(), Flag: s.flag(), Means: s.means,
		})
	}
	return all
}
