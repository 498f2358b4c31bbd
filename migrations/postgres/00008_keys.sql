-- +goose Up
-- Which of the server's keys signed a token; null where none did. When a key is compromised, its tokens end.
ALTER TABLE tokens ADD COLUMN signed_by TEXT;

-- The signing keys a device knows, by id, as JSON; null where it asks for the published ones. Devices of before had the first.
ALTER TABLE devices ADD COLUMN signing_keys TEXT NOT NULL DEFAULT '["1"]';

UPDATE devices SET signing_keys = 'null' WHERE delivery = 'http';

-- A channel that a device brought along: salt and ids as JSON, and its secret, sealed. Null where it derives from the root key.
ALTER TABLE devices ADD COLUMN channel TEXT;
ALTER TABLE devices ADD COLUMN channel_secret BYTEA;

-- HMAC-SHA-256 under the store key of key material that peers brought along, so that no two have the same.
CREATE TABLE materials (
    mac       BYTEA NOT NULL PRIMARY KEY,
    client_id TEXT REFERENCES clients (id),
    device_id BYTEA REFERENCES devices (id)
);
CREATE INDEX materials_by_client ON materials (client_id) WHERE client_id IS NOT NULL;
