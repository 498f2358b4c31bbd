-- +goose Up
-- From here on every table whose rows have an end carries one expires_at: the moment after which nobody asks for the row
-- and housekeeping may remove it; 0 is never. What a rule asks for is called ends_at.

ALTER TABLE clients ADD COLUMN name TEXT NOT NULL DEFAULT '';
ALTER TABLE clients ADD COLUMN keys TEXT NOT NULL DEFAULT '';          -- JWK Set, public keys alone
ALTER TABLE clients ADD COLUMN settings TEXT NOT NULL DEFAULT '{}';
ALTER TABLE clients ADD COLUMN serves BLOB;                            -- the device or API this client is
ALTER TABLE clients ADD COLUMN management_hash BLOB;
ALTER TABLE clients ADD COLUMN suspended_at INTEGER NOT NULL DEFAULT 0;

ALTER TABLE users ADD COLUMN suspended_at INTEGER NOT NULL DEFAULT 0;

ALTER TABLE devices ADD COLUMN resource TEXT;
ALTER TABLE devices ADD COLUMN state TEXT NOT NULL DEFAULT 'active';
ALTER TABLE devices ADD COLUMN suspended_at INTEGER NOT NULL DEFAULT 0;
CREATE UNIQUE INDEX devices_by_resource ON devices (resource) WHERE resource IS NOT NULL;

ALTER TABLE grants ADD COLUMN suspended_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE grants ADD COLUMN expires_at INTEGER NOT NULL DEFAULT 0;
CREATE INDEX grants_by_end ON grants (expires_at) WHERE expires_at <> 0;

ALTER TABLE codes RENAME COLUMN expires_at TO ends_at;
ALTER TABLE codes ADD COLUMN bound_key BLOB;
ALTER TABLE codes ADD COLUMN details TEXT NOT NULL DEFAULT '';
ALTER TABLE codes ADD COLUMN expires_at INTEGER NOT NULL DEFAULT 0;
UPDATE codes SET expires_at = CASE WHEN consumed_at = 0 THEN ends_at + 86400000 ELSE consumed_at + 34560000000 END;
CREATE INDEX codes_by_end ON codes (expires_at);

CREATE INDEX logins_by_end ON logins (expires_at);
CREATE INDEX client_keys_by_end ON client_keys (expires_at);

ALTER TABLE signing_keys ADD COLUMN signs_from INTEGER NOT NULL DEFAULT 0;
ALTER TABLE signing_keys ADD COLUMN signs_until INTEGER NOT NULL DEFAULT 0;
ALTER TABLE signing_keys ADD COLUMN withdrawn_at INTEGER NOT NULL DEFAULT 0;
UPDATE signing_keys SET signs_from = created_at;

-- By id (device id ‖ sequence): the tokens of a device lie together, each commit writes at the end of a range, and a token
-- that names itself is found without an index on its hash.
DROP INDEX tokens_by_grant;
ALTER TABLE tokens RENAME TO tokens_1;
CREATE TABLE tokens (
    id         BLOB    NOT NULL PRIMARY KEY,
    hash       BLOB    NOT NULL,
    alt_hash   BLOB,
    grant_id   BLOB,                       -- null: the owner's own rights
    client_id  TEXT    NOT NULL,
    user_name  TEXT    NOT NULL,
    code_hash  BLOB,
    family     BLOB,                       -- the refresh token it came with or from
    series     BLOB,                       -- id of the series' first token; null: this is one
    claims     BLOB,                       -- sealed; what introspection tells of a token that says nothing itself
    issued_at  INTEGER NOT NULL,
    ends_at    INTEGER NOT NULL,
    revoked_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO tokens SELECT id, hash, alt_hash, grant_id, client_id, user_name, code_hash, NULL, NULL, NULL, issued_at, expires_at,
    0, expires_at FROM tokens_1 WHERE id IS NOT NULL;
DROP TABLE tokens_1;
CREATE INDEX tokens_by_end ON tokens (expires_at);
CREATE INDEX tokens_by_grant ON tokens (grant_id, id) WHERE grant_id IS NOT NULL;
CREATE INDEX tokens_by_code ON tokens (code_hash) WHERE code_hash IS NOT NULL;
CREATE INDEX tokens_by_family ON tokens (family) WHERE family IS NOT NULL;
CREATE INDEX tokens_revoked ON tokens (id) WHERE revoked_at <> 0;

-- One row for each refresh token and its successors (D19). The token itself is no more than an HMAC of id and generation
-- under the store key, so no form of it rests here.
CREATE TABLE families (
    id         BLOB    NOT NULL PRIMARY KEY,
    generation INTEGER NOT NULL,
    rotated_at INTEGER NOT NULL,
    client_id  TEXT    NOT NULL,
    user_name  TEXT    NOT NULL,
    device_id  BLOB    NOT NULL,
    grant_id   BLOB,
    rights     BLOB    NOT NULL,
    details    TEXT    NOT NULL,
    bound_key  BLOB,                       -- thumbprint of the key it is bound to; null: it rotates
    material   BLOB,                       -- sealed possession key of its tokens
    series     BLOB,                       -- id of the first token with that key
    code_hash  BLOB,
    issued_at  INTEGER NOT NULL,
    ends_at    INTEGER NOT NULL,
    revoked_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX families_by_end ON families (expires_at);
CREATE INDEX families_by_code ON families (code_hash) WHERE code_hash IS NOT NULL;
CREATE INDEX families_by_grant ON families (grant_id) WHERE grant_id IS NOT NULL;

-- Authorization requests that clients pushed (RFC 9126).
CREATE TABLE requests (
    hash       BLOB    NOT NULL PRIMARY KEY,
    client_id  TEXT    NOT NULL,
    query      TEXT    NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX requests_by_end ON requests (expires_at);

-- Device authorization (RFC 8628). user_code is HMAC-SHA-256 under the store key: a code that people type is too short for
-- a hash.
CREATE TABLE device_codes (
    hash        BLOB    NOT NULL PRIMARY KEY,
    user_code   BLOB    NOT NULL UNIQUE,
    client_id   TEXT    NOT NULL,
    device_id   BLOB    NOT NULL,
    asked       BLOB    NOT NULL,
    details     TEXT    NOT NULL,
    bound_key   BLOB,
    pace        INTEGER NOT NULL,          -- seconds between polls
    polled_at   INTEGER NOT NULL,
    answer      TEXT    NOT NULL,          -- '', 'yes' or 'no'
    user_name   TEXT    NOT NULL,
    rights      BLOB    NOT NULL,
    grant_id    BLOB,
    issued_at   INTEGER NOT NULL,
    ends_at     INTEGER NOT NULL,
    consumed_at INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX device_codes_by_end ON device_codes (expires_at);

-- What may be used once: ids of assertions and proofs.
CREATE TABLE uses (
    kind       TEXT    NOT NULL,
    value      BLOB    NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (kind, value)
) STRICT, WITHOUT ROWID;
CREATE INDEX uses_by_end ON uses (expires_at);

-- Updates of the token revocation list (RFC 9770). Rows of one index are one update.
CREATE TABLE trl_updates (
    number     INTEGER NOT NULL,
    token_id   BLOB    NOT NULL,
    device_id  BLOB    NOT NULL,
    client_id  TEXT    NOT NULL,
    hash       BLOB    NOT NULL,
    alt_hash   BLOB,
    removed    INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (number, token_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX trl_by_device ON trl_updates (device_id, number);
CREATE INDEX trl_by_client ON trl_updates (client_id, number);
CREATE INDEX trl_by_end ON trl_updates (expires_at);

-- Values of the whole store that only grow (D4).
CREATE TABLE counters (
    name  TEXT    NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What devices have to be told, until they have said that they know.
CREATE TABLE outbox (
    id         INTEGER PRIMARY KEY,
    device_id  BLOB    NOT NULL,
    grant_id   BLOB,
    hashes     BLOB    NOT NULL,           -- token hashes, CBOR array
    created_at INTEGER NOT NULL,
    due_at     INTEGER NOT NULL,
    attempts   INTEGER NOT NULL,
    done_at    INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX outbox_due ON outbox (due_at) WHERE done_at = 0;
CREATE INDEX outbox_by_device ON outbox (device_id);
CREATE INDEX outbox_by_end ON outbox (expires_at);

-- Who does what one of several processes does.
CREATE TABLE leases (
    name       TEXT    NOT NULL PRIMARY KEY,
    holder     TEXT    NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Initial access tokens of dynamic registration (RFC 7591 §3).
CREATE TABLE invitations_to_register (
    hash       BLOB    NOT NULL PRIMARY KEY,
    note       TEXT    NOT NULL,
    uses_left  INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
