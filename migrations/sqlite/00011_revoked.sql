-- +goose Up
-- What processes keep in memory of tokens, for introspection, is good as long as this number stays: each revocation replaces it.
INSERT INTO changed (what, state) VALUES ('tokens', random());

-- +goose StatementBegin
CREATE TRIGGER tokens_revoked AFTER UPDATE OF revoked_at ON tokens BEGIN
    UPDATE changed SET state = random() WHERE what = 'tokens';
END;
-- +goose StatementEnd
