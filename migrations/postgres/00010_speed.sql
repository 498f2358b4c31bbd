-- +goose Up
-- What processes keep in memory of clients, users, devices, grants and signing keys is good as long as this number stays: each
-- change of a row of theirs replaces it by a random one, in its own transaction. Where a device was last seen is no such change.
-- The number says nothing in another database, so it is in no backup.
CREATE TABLE changed (
    what  TEXT   NOT NULL PRIMARY KEY,
    state BIGINT NOT NULL
);
INSERT INTO changed (what, state) VALUES ('parties', (random() * 9e18)::BIGINT);

-- +goose StatementBegin
CREATE FUNCTION parties_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE changed SET state = (random() * 9e18)::BIGINT WHERE what = 'parties';
    RETURN NULL;
END $$;
-- +goose StatementEnd

-- Deferred, so that the row of the number is locked last and shortly, in every transaction.
CREATE CONSTRAINT TRIGGER clients_changed AFTER INSERT OR DELETE OR UPDATE ON clients
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION parties_changed();
CREATE CONSTRAINT TRIGGER users_changed AFTER INSERT OR DELETE OR UPDATE ON users
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION parties_changed();
CREATE CONSTRAINT TRIGGER devices_changed AFTER INSERT OR DELETE OR UPDATE OF name, owner, kind, delivery, profile, clock,
    shape, actions, root_key, public_key, sender_id, epoch, expires_in, private, require_cnonce, remote, created_at, resource, state, suspended_at, log_wanted, signing_keys, channel, channel_secret ON devices
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION parties_changed();
CREATE CONSTRAINT TRIGGER grants_changed AFTER INSERT OR DELETE OR UPDATE ON grants
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION parties_changed();
CREATE CONSTRAINT TRIGGER signing_keys_changed AFTER INSERT OR DELETE OR UPDATE ON signing_keys
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION parties_changed();

-- The newest second of any sequence is a counter that moves once a second; an index on the values moved with each token.
DROP INDEX sequences_newest;
INSERT INTO counters (name, value) SELECT 'clock', MAX(value) >> 20 FROM sequences HAVING MAX(value) IS NOT NULL;
