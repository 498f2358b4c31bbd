-- +goose Up
-- What was found out about the app instance that asks, as JSON.
ALTER TABLE requests ADD COLUMN verdict TEXT NOT NULL DEFAULT '{}';
ALTER TABLE device_codes ADD COLUMN verdict TEXT NOT NULL DEFAULT '{}';

-- Instances of apps whose platform counts what their keys sign (Apple App Attest): no count comes twice.
CREATE TABLE instances (
    id         BLOB    NOT NULL PRIMARY KEY,
    client_id  TEXT    NOT NULL,
    app        TEXT    NOT NULL,
    public_key BLOB    NOT NULL,
    verdict    TEXT    NOT NULL,
    counter    INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX instances_expires_at ON instances (expires_at);
