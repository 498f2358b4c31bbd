-- +goose Up
-- Refresh tokens end by these, alone at the gate.
CREATE INDEX families_by_client ON families (client_id);
CREATE INDEX families_by_user ON families (user_name);
CREATE INDEX families_by_device ON families (device_id);

-- Each row of audit belongs to a group, the rows of one commit, and each group to a chain (docs/adr/0044). The last row of a
-- group carries its MAC. Rows of before become the first group of the first chain.
ALTER TABLE audit ADD COLUMN chain BIGINT NOT NULL DEFAULT 0;
ALTER TABLE audit ADD COLUMN number BIGINT NOT NULL DEFAULT 0;
ALTER TABLE audit ADD COLUMN mac BYTEA;

CREATE TABLE audit_chains (
    number        BIGINT  NOT NULL PRIMARY KEY,
    id            BYTEA   NOT NULL,
    opened        BYTEA   NOT NULL,        -- MAC over the one of the chain before
    pruned_number BIGINT  NOT NULL,        -- the newest group that retention has removed
    pruned_link   BYTEA   NOT NULL,        -- what the group after it continues
    head_number   BIGINT  NOT NULL,        -- a group that was there when this was written
    head_link     BYTEA   NOT NULL,
    state         BYTEA   NOT NULL         -- MAC over the four columns before
);
