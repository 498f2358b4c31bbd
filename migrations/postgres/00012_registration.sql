-- +goose Up
-- What clients may be that are registered with an initial access token, as JSON. Those of before allowed nothing.
ALTER TABLE invitations_to_register ADD COLUMN allowed TEXT NOT NULL DEFAULT '{}';

-- When a client goes, the grants to it end.
CREATE INDEX grants_to_client ON grants (to_client) WHERE to_client <> '';
