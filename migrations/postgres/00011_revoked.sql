-- +goose Up
-- What processes keep in memory of tokens, for introspection, is good as long as this number stays: each revocation replaces it.
INSERT INTO changed (what, state) VALUES ('tokens', (random() * 9e18)::BIGINT);

-- +goose StatementBegin
CREATE FUNCTION tokens_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE changed SET state = (random() * 9e18)::BIGINT WHERE what = 'tokens';
    RETURN NULL;
END $$;
-- +goose StatementEnd

-- Once a statement, which may end very many. Who revokes is alone at the gate, so nobody waits for the row of the number.
CREATE TRIGGER tokens_revoked AFTER UPDATE OF revoked_at ON tokens FOR EACH STATEMENT EXECUTE FUNCTION tokens_changed();
