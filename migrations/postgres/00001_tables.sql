-- +goose Up
-- Times are unix milliseconds, 0 is the zero time. Rights are AIF in CBOR. Lists are JSON. Sealed columns are
-- AES-256-GCM with AAD table ‖ 0 ‖ row id (D3).

CREATE TABLE meta (
    name  TEXT  NOT NULL PRIMARY KEY,
    value BYTEA NOT NULL
);

CREATE TABLE clients (
    id               TEXT    NOT NULL PRIMARY KEY,
    auth_method      TEXT    NOT NULL,
    secret_hash      BYTEA,
    redirect_uris    TEXT    NOT NULL,
    grant_types      TEXT    NOT NULL,
    client_made_keys BOOLEAN NOT NULL,
    ceiling          TEXT    NOT NULL,
    channel          TEXT,   -- salt and ids as JSON
    channel_secret   BYTEA,  -- sealed
    created_at       BIGINT  NOT NULL
);

CREATE TABLE users (
    name          TEXT   NOT NULL PRIMARY KEY,
    password_hash TEXT   NOT NULL,
    created_at    BIGINT NOT NULL
);

CREATE TABLE devices (
    id             BYTEA   NOT NULL PRIMARY KEY,
    name           TEXT    NOT NULL UNIQUE,
    owner          TEXT    NOT NULL,
    kind           BIGINT  NOT NULL,  -- kind, clock and shape as in the provisioning file
    delivery       TEXT    NOT NULL,
    profile        BIGINT  NOT NULL,
    clock          BIGINT  NOT NULL,
    shape          BIGINT  NOT NULL,
    actions        TEXT    NOT NULL,
    root_key       BYTEA   NOT NULL,  -- sealed
    public_key     BYTEA,
    sender_id      BYTEA,
    epoch          BIGINT  NOT NULL,
    expires_in     BIGINT  NOT NULL,  -- seconds
    private        BOOLEAN NOT NULL,
    require_cnonce BOOLEAN NOT NULL,
    remote         BOOLEAN NOT NULL,
    created_at     BIGINT  NOT NULL,
    reg_address    TEXT    NOT NULL,
    reg_local_uris TEXT    NOT NULL,
    reg_expires_at BIGINT  NOT NULL,
    reg_seen_at    BIGINT  NOT NULL
);

-- One row for each OSCORE Sender ID towards this server, whoever has it.
CREATE TABLE peers (
    peer_id   BYTEA NOT NULL PRIMARY KEY,
    client_id TEXT  REFERENCES clients (id),
    device_id BYTEA REFERENCES devices (id)
);

CREATE TABLE grants (
    id           BYTEA   NOT NULL PRIMARY KEY,
    owner        TEXT    NOT NULL,
    to_user      TEXT    NOT NULL,
    to_client    TEXT    NOT NULL,
    device_id    BYTEA   NOT NULL REFERENCES devices (id),
    rights       BYTEA   NOT NULL,
    starts_at    BIGINT  NOT NULL,
    ends_at      BIGINT  NOT NULL,
    once         BOOLEAN NOT NULL,
    spent        BYTEA   NOT NULL,
    created_at   BIGINT  NOT NULL,
    revoked_at   BIGINT  NOT NULL,
    confirmed_at BIGINT  NOT NULL
);
CREATE INDEX grants_by_subject ON grants (device_id, to_user, to_client);
CREATE INDEX grants_by_owner ON grants (owner, created_at);

CREATE TABLE codes (
    hash         BYTEA  NOT NULL PRIMARY KEY,
    client_id    TEXT   NOT NULL,
    user_name    TEXT   NOT NULL,
    redirect_uri TEXT   NOT NULL,
    challenge    TEXT   NOT NULL,
    device_id    BYTEA  NOT NULL,
    rights       BYTEA  NOT NULL,
    grant_id     BYTEA  NOT NULL,
    issued_at    BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    consumed_at  BIGINT NOT NULL
);

CREATE TABLE logins (
    hash       BYTEA  NOT NULL PRIMARY KEY,
    user_name  TEXT   NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE TABLE signing_keys (
    id          TEXT   NOT NULL PRIMARY KEY,
    private_key BYTEA  NOT NULL,  -- sealed
    created_at  BIGINT NOT NULL
);

CREATE TABLE sequences (
    device_id BYTEA  NOT NULL REFERENCES devices (id),
    kind      TEXT   NOT NULL,
    value     BIGINT NOT NULL,
    PRIMARY KEY (device_id, kind)
);
CREATE INDEX sequences_newest ON sequences (value);

-- HMAC-SHA-256 of possession keys that clients made (D9).
CREATE TABLE client_keys (
    mac        BYTEA  NOT NULL PRIMARY KEY,
    used_at    BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

-- By device and end: what is asked for lies together, and each commit writes at the end of a range.
CREATE TABLE tokens (
    device_id  BYTEA  NOT NULL,
    expires_at BIGINT NOT NULL,
    hash       BYTEA  NOT NULL,
    alt_hash   BYTEA,
    id         BYTEA,
    grant_id   BYTEA,  -- null: the owner's own rights
    client_id  TEXT   NOT NULL,
    user_name  TEXT   NOT NULL,
    code_hash  BYTEA,
    issued_at  BIGINT NOT NULL,
    PRIMARY KEY (device_id, expires_at, hash)
);
CREATE INDEX tokens_by_grant ON tokens (grant_id, expires_at) WHERE grant_id IS NOT NULL;

CREATE TABLE audit (
    id        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        BIGINT NOT NULL,
    event     TEXT   NOT NULL,
    result    TEXT   NOT NULL,
    reason    TEXT   NOT NULL,
    client_id TEXT   NOT NULL,
    user_name TEXT   NOT NULL,
    device    TEXT   NOT NULL,
    grant_id  BYTEA  NOT NULL
);
