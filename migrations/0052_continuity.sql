-- What a cluster is rebuilt from, and gone on with, when the database lost some or all of what it knew: docs/resync.md.

ALTER TABLE clusters
    DROP CONSTRAINT clusters_halt_check,
    ADD CONSTRAINT clusters_halt_check CHECK (halt IN ('on_loss', 'no_snapshot', 'restore_failed', 'rollback_limit', 'resynced'));

-- The server and the timeline that this is. A promoted standby, and a server that was recovered to a point in time, are on another timeline: their
-- last transactions may be missing. Null where the user may not ask, and on a standby.
CREATE FUNCTION database_identity() RETURNS text LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF pg_is_in_recovery() THEN
        RETURN NULL;
    END IF;
    RETURN (SELECT system_identifier FROM pg_control_system()) || '/' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8);
EXCEPTION WHEN insufficient_privilege THEN
    RETURN NULL;
END $$;

CREATE TABLE continuity (
    cluster           text   PRIMARY KEY REFERENCES clusters (name),
    -- Where the cluster's numbers are known to go on from the last that was given out.
    home              text,
    -- New incarnations are above it.
    incarnation_floor bigint NOT NULL DEFAULT 0,
    -- Why the catalog may know less than the archive; null when it is known not to.
    behind            text
);

-- Whether anything may be deleted, with what follows from the above: not as long as the catalog may know less than the archive.
CREATE VIEW collection_now AS
    SELECT g.is_the_only_row, CASE WHEN k.behind IS NULL THEN g.state ELSE 'suspended' END AS state, coalesce(g.reason, k.behind) AS reason, g.changed_at
      FROM collection g,
           LATERAL (SELECT min(coalesce(c.behind, 'the database server of cluster ' || c.cluster || ' is another than before')) AS behind
                      FROM continuity c WHERE c.behind IS NOT NULL OR c.home <> database_identity()) k;

CREATE OR REPLACE FUNCTION snapshots_needed_stay() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM restores r WHERE r.cluster = NEW.cluster AND r.state IN ('planned', 'preparing', 'resuming'))
        OR EXISTS (SELECT FROM clusters c WHERE c.name = NEW.cluster AND c.latest_committed = NEW.id)
        OR EXISTS (SELECT FROM holds h WHERE h.snapshot = NEW.id AND (h.expires_at IS NULL OR h.expires_at > clock_timestamp()))
        OR EXISTS (SELECT FROM collection_now WHERE state = 'suspended') THEN
        RAISE EXCEPTION 'snapshot % is still needed', NEW.id USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;

-- As before, and: a snapshot that the archive proves committed becomes so, whatever a database that has forgotten it says. Only the transaction that
-- takes it up may.
CREATE OR REPLACE FUNCTION snapshots_go_forward() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state = 'committed' AND OLD.state IN ('pending', 'recording', 'committing', 'aborted')
        AND current_setting('stillframe.taking_up', true) = 'on' THEN
        RETURN NEW;
    END IF;
    IF NOT (CASE OLD.state
        WHEN 'pending'    THEN NEW.state IN ('pending', 'recording', 'aborted')
        WHEN 'recording'  THEN NEW.state IN ('recording', 'committing', 'aborted')
        WHEN 'committing' THEN NEW.state IN ('committing', 'committed')
        WHEN 'committed'  THEN NEW.state IN ('committed', 'deleting')
        WHEN 'aborted'    THEN NEW.state IN ('aborted', 'deleting')
        WHEN 'deleting'   THEN NEW.state IN ('deleting', 'deleted')
        ELSE NEW.state = 'deleted'
    END) THEN
        RAISE EXCEPTION 'snapshot % would go from % to %', OLD.id, OLD.state, NEW.state USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF OLD.epoch IS NOT NULL AND (NEW.epoch IS DISTINCT FROM OLD.epoch OR NEW.view IS DISTINCT FROM OLD.view
        OR NEW.generation <> OLD.generation OR NEW.recording_at IS DISTINCT FROM OLD.recording_at) THEN
        RAISE EXCEPTION 'the view of snapshot % is frozen', OLD.id USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
