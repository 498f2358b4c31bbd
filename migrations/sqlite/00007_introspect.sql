-- +goose Up
-- Claims that introspection has told of are erased when their token ends, though its row may be needed longer.
CREATE INDEX tokens_with_claims ON tokens (ends_at) WHERE claims IS NOT NULL;
