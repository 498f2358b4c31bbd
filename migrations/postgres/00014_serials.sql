-- +goose Up
-- Serials of the certificates that vouched for an app instance (Android Key Attestation), as JSON: one may be revoked later.
ALTER TABLE instances ADD COLUMN serials TEXT NOT NULL DEFAULT 'null';
