-- +goose Up
-- Times are unix milliseconds, 0 is the zero time. Rights are AIF in CBOR. Lists are JSON. Sealed columns are
-- AES-256-GCM with AAD table ‖ 0 ‖ row id (D3).

CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE clients (
    id               TEXT    NOT NULL PRIMARY KEY,
    auth_method      TEXT    NOT NULL,
    secret_hash      BLOB,
    redirect_uris    TEXT    NOT NULL,
    grant_types      TEXT    NOT NULL,
    client_made_keys INTEGER NOT NULL,
    ceiling          TEXT    NOT NULL,
    channel          TEXT,             -- salt and ids as JSON
    channel_secret   BLOB,             -- sealed
    created_at       INTEGER NOT NULL
) STRICT;

CREATE TABLE users (
    name          TEXT    NOT NULL PRIMARY KEY,
    password_hash TEXT    NOT NULL,
    created_at    INTEGER NOT NULL
) STRICT;

CREATE TABLE devices (
    id              BLOB    NOT NULL PRIMARY KEY,
    name            TEXT    NOT NULL UNIQUE,
    owner           TEXT    NOT NULL,
    kind            INTEGER NOT NULL,  -- kind, clock and shape as in the provisioning file
    delivery        TEXT    NOT NULL,
    profile         INTEGER NOT NULL,
    clock           INTEGER NOT NULL,
    shape           INTEGER NOT NULL,
    actions         TEXT    NOT NULL,
    root_key        BLOB    NOT NULL,  -- sealed
    public_key      BLOB,
    sender_id       BLOB,
    epoch           INTEGER NOT NULL,
    expires_in      INTEGER NOT NULL,  -- seconds
    private         INTEGER NOT NULL,
    require_cnonce  INTEGER NOT NULL,
    remote          INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    reg_address     TEXT    NOT NULL,
    reg_local_uris  TEXT    NOT NULL,
    reg_expires_at  INTEGER NOT NULL,
    reg_seen_at     INTEGER NOT NULL
) STRICT;

-- One row for each OSCORE Sender ID towards this server, whoever has it.
CREATE TABLE peers (
    peer_id   BLOB NOT NULL PRIMARY KEY,
    client_id TEXT REFERENCES clients (id),
    device_id BLOB REFERENCES devices (id)
) STRICT, WITHOUT ROWID;

CREATE TABLE grants (
    id           BLOB    NOT NULL PRIMARY KEY,
    owner        TEXT    NOT NULL,
    to_user      TEXT    NOT NULL,
    to_client    TEXT    NOT NULL,
    device_id    BLOB    NOT NULL REFERENCES devices (id),
    rights       BLOB    NOT NULL,
    starts_at    INTEGER NOT NULL,
    ends_at      INTEGER NOT NULL,
    once         INTEGER NOT NULL,
    spent        BLOB    NOT NULL,
    created_at   INTEGER NOT NULL,
    revoked_at   INTEGER NOT NULL,
    confirmed_at INTEGER NOT NULL
) STRICT;
CREATE INDEX grants_by_subject ON grants (device_id, to_user, to_client);
CREATE INDEX grants_by_owner ON grants (owner, created_at);

CREATE TABLE codes (
    hash         BLOB    NOT NULL PRIMARY KEY,
    client_id    TEXT    NOT NULL,
    user_name    TEXT    NOT NULL,
    redirect_uri TEXT    NOT NULL,
    challenge    TEXT    NOT NULL,
    device_id    BLOB    NOT NULL,
    rights       BLOB    NOT NULL,
    grant_id     BLOB    NOT NULL,
    issued_at    INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    consumed_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE logins (
    hash       BLOB    NOT NULL PRIMARY KEY,
    user_name  TEXT    NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE signing_keys (
    id          TEXT    NOT NULL PRIMARY KEY,
    private_key BLOB    NOT NULL,      -- sealed
    created_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE sequences (
    device_id BLOB    NOT NULL REFERENCES devices (id),
    kind      TEXT    NOT NULL,
    value     INTEGER NOT NULL,
    PRIMARY KEY (device_id, kind)
) STRICT, WITHOUT ROWID;
CREATE INDEX sequences_newest ON sequences (value);

-- HMAC-SHA-256 of possession keys that clients made (D9).
CREATE TABLE client_keys (
    mac        BLOB    NOT NULL PRIMARY KEY,
    used_at    INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- By device and end: what is asked for lies together, and each commit writes at the end of a range.
CREATE TABLE tokens (
    device_id  BLOB    NOT NULL,
    expires_at INTEGER NOT NULL,
    hash       BLOB    NOT NULL,
    alt_hash   BLOB,
    id         BLOB,
    grant_id   BLOB,  -- null: the owner's own rights
    client_id  TEXT    NOT NULL,
    user_name  TEXT    NOT NULL,
    code_hash  BLOB,
    issued_at  INTEGER NOT NULL,
    PRIMARY KEY (device_id, expires_at, hash)
) STRICT, WITHOUT ROWID;
CREATE INDEX tokens_by_grant ON tokens (grant_id, expires_at) WHERE grant_id IS NOT NULL;

CREATE TABLE audit (
    id        INTEGER PRIMARY KEY,
    at        INTEGER NOT NULL,
    event     TEXT    NOT NULL,
    result    TEXT    NOT NULL,
    reason    TEXT    NOT NULL,
    client_id TEXT    NOT NULL,
    user_name TEXT    NOT NULL,
    device    TEXT    NOT NULL,
    grant_id  BLOB    NOT NULL
) STRICT;
