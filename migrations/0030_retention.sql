-- What is kept: a cluster's retention (null: everything), and holds. Whether anything may be deleted at all.

ALTER TABLE clusters ADD COLUMN retention jsonb;

CREATE INDEX snapshots_committed ON snapshots (cluster, epoch) WHERE state = 'committed';

CREATE TABLE holds (
    id         uuid        PRIMARY KEY,
    snapshot   uuid        NOT NULL REFERENCES snapshots (id),
    owner      text        NOT NULL,
    reason     text        NOT NULL,
    created_at timestamptz NOT NULL,
    -- From then on it holds nothing any more; null: until it is removed.
    expires_at timestamptz
);
CREATE INDEX holds_by_snapshot ON holds (snapshot);

-- One row. While it is suspended nothing is deleted from the archive: the catalog may know less than the archive does.
CREATE TABLE collection (
    is_the_only_row boolean     PRIMARY KEY DEFAULT true CHECK (is_the_only_row),
    state           text        NOT NULL CHECK (state IN ('confirmed', 'suspended')),
    reason          text,
    changed_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((state = 'suspended') = (reason IS NOT NULL))
);
INSERT INTO collection (state) VALUES ('confirmed');

-- What a restore, a rollback or somebody's hold needs is not deleted, whatever a replica believes.
CREATE FUNCTION snapshots_needed_stay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM restores r WHERE r.cluster = NEW.cluster AND r.state IN ('planned', 'preparing', 'resuming'))
        OR EXISTS (SELECT FROM clusters c WHERE c.name = NEW.cluster AND c.latest_committed = NEW.id)
        OR EXISTS (SELECT FROM holds h WHERE h.snapshot = NEW.id AND (h.expires_at IS NULL OR h.expires_at > clock_timestamp()))
        OR EXISTS (SELECT FROM collection WHERE state = 'suspended') THEN
        RAISE EXCEPTION 'snapshot % is still needed', NEW.id USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER snapshots_needed_stay BEFORE UPDATE ON snapshots FOR EACH ROW
    WHEN (OLD.state = 'committed' AND NEW.state = 'deleting') EXECUTE FUNCTION snapshots_needed_stay();

-- When each cluster's retention was carried out, and its archive looked through for orphans: once in a while over all replicas.
CREATE TABLE collecting (
    cluster      text        PRIMARY KEY REFERENCES clusters (name),
    retention_at timestamptz,
    orphans_at   timestamptz
);
