-- Settings that change while a cluster runs, and a queue that says what it waits for.

ALTER TABLE snapshots
    -- While it is pending: when the cluster's min_pause lets it begin, at the earliest.
    ADD COLUMN begins_at     timestamptz,
    -- Whether its request named its timeout; else it follows the cluster's while it is pending.
    ADD COLUMN own_timeout   boolean NOT NULL DEFAULT true,
    -- While it is committing: what the archive last said against its manifest.
    ADD COLUMN archive_error text;
