package main

import (
	"context"
	"fmt"

	"github.com/latchkey-ace/latchkey/cmd/internal/command"
	"github.com/latchkey-ace/latchkey/storage"
	"github.com/spf13/cobra"
)

func (t *tool) migrateCommand() *cobra.Command {
	var check bool
	c := &cobra.Command{
		Use:   "migrate",
		Short: "Bring the store's tables up to date",
		Long: "Brings the tables of the store to the version that this program makes. serve does it by itself, but not to a PostgreSQL\n" +
			"database while an older program is connected: replace those one by one first, which is safe, because each release serves\n" +
			"the tables of the one before. There is no way back but a backup: make one first.",
		Example: "  latchkey migrate --check --data ./data\n  latchkey migrate --data ./data",
		Args:    command.None,
		RunE:    func(cmd *cobra.Command, _ []string) error { return t.migrate(cmd, check) },
	}
	c.Flags().BoolVar(&check, "check", false, "only say what there is to do")
	return c
}

func (t *tool) migrate(cmd *cobra.Command, check bool) error {
	if t.data == "" {
		return errNoData
	}
	c, err := loadConfig(t.data, nil)
	if err != nil {
		return err
	}
	before, err := storage.ReadSchema(cmd.Context(), c.database(t.data))
	if err != nil {
		return err
	}
	todo := "nothing to do"
	switch {
	case before.Version > before.Newest:
		todo = "a newer program made them: run that"
	case before.Version < before.Newest:
		todo = "latchkey migrate brings them up to date"
	}
	if check || before.Version == before.Newest {
		return t.say(cmd.OutOrStdout(), before, "the tables are of version %d; this program serves %d to %d: %s",
			before.Version, before.Oldest, before.Newest, todo)
	}
	if err := t.bringUp(cmd.Context(), c); err != nil {
		return err
	}
	after := before
	after.Version = before.Newest
	return t.say(cmd.OutOrStdout(), after, "the tables are of version %d now; they were of version %d", after.Version, before.Version)
}

// bringUp migrates. The built-in store has one server at most, which must not run.
func (t *tool) bringUp(ctx context.Context, c config) error {
	if c.DB == "" {
		lock, err := lockFolder(t.data)
		if err != nil {
			return fmt.Errorf("%w: it brings the tables up to date when it starts", err)
		}
		defer lock.Close()
	}
	return storage.Migrate(ctx, c.database(t.data))
}
