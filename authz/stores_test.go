package authz_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/latchkey-ace/latchkey/storage/storagetest/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// onBoth runs a test that depends on the store on either.
func onBoth(t *testing.T, test func(*testing.T, *world)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, newWorldOn(t, "sqlite:"+filepath.Join(t.TempDir(), "as.db"))) })
	t.Run("postgres", func(t *testing.T) { test(t, newWorldOn(t, pgtest.Start(t))) })
}
