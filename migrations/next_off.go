//go:build !next_schema

package migrations

import "github.com/pressly/goose/v3"

// nextSchema is what the release after this one would add: nothing is known of it.
func nextSchema() *goose.Migration { return nil }

func waitsNext() []int64 { return nil }
