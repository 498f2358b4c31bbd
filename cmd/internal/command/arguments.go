package command

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Group is a command that only holds others. Alone it is a mistake that names them.
func Group(use, short, example string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Example: example, Args: known}
	c.RunE = func(c *cobra.Command, _ []string) error {
		return fmt.Errorf("say what to do: %s", strings.Join(names(c), " or "))
	}
	c.AddCommand(commands...)
	return c
}

// Root makes c hold others; alone it shows its help.
func Root(c *cobra.Command, commands ...*cobra.Command) *cobra.Command {
	c.Args = known
	c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	c.AddCommand(commands...)
	return c
}

// None is the Args of a command without arguments.
func None(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("%s takes no arguments, only flags; %s --help lists them", c.CommandPath(), c.CommandPath())
}

// One is the Args of a command whose Use names its one argument. What was given is not repeated: it may be a secret in
// the wrong place.
func One(c *cobra.Command, args []string) error {
	if len(args) == 1 {
		return nil
	}
	form := c.CommandPath() + strings.TrimPrefix(c.Use, c.Name())
	if len(args) == 0 {
		return fmt.Errorf("an argument is missing: write %s", form)
	}
	return fmt.Errorf("%d arguments instead of one: write %s", len(args), form)
}

// known is the Args of a command that holds others.
func known(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	c.SuggestionsMinimumDistance = 2
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf("unknown command %q; did you mean %s %s?", args[0], c.CommandPath(), near[0])
	}
	return fmt.Errorf("unknown command %q; there are %s", args[0], strings.Join(names(c), ", "))
}

func names(c *cobra.Command) []string {
	var all []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "help" {
			all = append(all, sub.Name())
		}
	}
	return all
}

// Later are flags that people may look for because documents of the field name them: by command and flag, as in
// "latchkey serve --coaps", what to do instead.
type Later map[string]string

// flagError says which flag is wrong and where the right ones are listed.
func (l Later) flagError(c *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return fmt.Errorf("%w; see %s --help", err, c.CommandPath())
	}
	if before := c.Flags().Args(); c.HasSubCommands() && len(before) > 0 {
		return known(c, before) // the flag belongs to a command that does not exist
	}
	name := "--" + unknown.GetSpecifiedName()
	if unknown.GetSpecifiedShortnames() != "" {
		name = "-" + unknown.GetSpecifiedName()
	}
	if instead, ok := l[c.CommandPath()+" "+name]; ok {
		return fmt.Errorf("%s is not available: %s", name, instead)
	}
	return fmt.Errorf("unknown flag %s; %s --help lists them", name, c.CommandPath())
}
