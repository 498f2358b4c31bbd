-- +goose Up
-- A device whose log has to be read again, because the store was restored and may have forgotten what was used up: until
-- then no grant that is good once gives tokens for it (docs/adr/0046). 0: none.
ALTER TABLE devices ADD COLUMN log_wanted INTEGER NOT NULL DEFAULT 0;
