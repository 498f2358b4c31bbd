-- +goose Up
-- What processes keep in memory of clients, users, devices, grants and signing keys is good as long as this number stays: each
-- change of a row of theirs replaces it by a random one, in its own transaction. Where a device was last seen is no such change.
-- The number says nothing in another database, so it is in no backup.
CREATE TABLE changed (
    what  TEXT    NOT NULL PRIMARY KEY,
    state INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO changed (what, state) VALUES ('parties', random());

-- +goose StatementBegin
CREATE TRIGGER clients_insert AFTER INSERT ON clients BEGIN
    UPDATE changed SET state = random() WHERE what = 'parties';
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER clients_update AFTER UPDATE ON clients BEGIN
    UPDATE changed SET state = random() WHERE what = 'parties';
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER clients_delete AFTER DELETE ON clients BEGIN
    UPDATE changed SET state = random() WHERE what = 'parties';
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER users_insert AFTER INSERT ON users BEGIN
    UPDATE changed SET state = random() WHERE what = 'parties';
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER users_update AFTER UPDATE ON users BEGIN
    UPDATE changed SET state = random() WHERE what = 'parties';
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER users_delete AFTER DELETE ON users BEGIN
    UPDATE changed SET state = random() WHERE what = 'parties';
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER devices_insert AFTER INSERT ON devices BEGIN
    UPDATE changed SET state = random() WHERE what = 'parties';
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER devices_update AFTER UPDATE OF name, owner, kind, delivery, profile, clock, shape, actions, root_key, public_key, sender_id, epoch, expires_in, private,
    require_cnonce, remote, created_at, resource, state, suspended_at, log_wanted, signing_keys, channel, channel_secret ON devices BEGIN
    UPDATE changed SET state = random() WHERE what = 'parties';
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER devices_delete AFTER DELETE ON devices BEGIN
    UPDATE changed SET state = random() WHERE what = 'parties';
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER grants_insert AFTER INSERT ON grants BEGIN
    UPDATE changed SET state = random() WHERE what = 'parties';
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER grants_update AFTER UPDATE ON grants BEGIN
    UPDATE changed SET state = random() WHERE what = 'parties';
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER grants_delete AFTER DELETE ON grants BEGIN
    UPDATE changed SET state = random() WHERE what = 'parties';
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER signing_keys_insert AFTER INSERT ON signing_keys BEGIN
    UPDATE changed SET state = random() WHERE what = 'parties';
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER signing_keys_update AFTER UPDATE ON signing_keys BEGIN
    UPDATE changed SET state = random() WHERE what = 'parties';
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER signing_keys_delete AFTER DELETE ON signing_keys BEGIN
    UPDATE changed SET state = random() WHERE what = 'parties';
END;
-- +goose StatementEnd

-- The newest second of any sequence is a counter that moves once a second; an index on the values moved with each token.
DROP INDEX sequences_newest;
INSERT INTO counters (name, value) SELECT 'clock', MAX(value) >> 20 FROM sequences HAVING MAX(value) IS NOT NULL;
