-- Restores that can be cancelled, fall back, try again and rename; rollbacks with a backoff and a limit. See docs/restores.md.

ALTER TABLE restores
    -- Why it failed, as a word; null in rows from before.
    ADD COLUMN failure_reason text CHECK (failure_reason IN ('unreadable', 'unavailable', 'member_failed', 'deadline_exceeded', 'cancelled')),
    -- How many more older snapshots may be tried, and how often each member may try again.
    ADD COLUMN fallback integer NOT NULL DEFAULT 0 CHECK (fallback >= 0),
    ADD COLUMN retries integer NOT NULL DEFAULT 0 CHECK (retries >= 0),
    -- How long each snapshot that is tried may take.
    ADD COLUMN timeout_ms bigint NOT NULL DEFAULT 60000 CHECK (timeout_ms > 0),
    -- {"<name in the snapshot>": "<name now>"}
    ADD COLUMN mapping jsonb NOT NULL DEFAULT '{}',
    -- The snapshots that proved unreadable: [{"snapshot", "member", "detail"}]
    ADD COLUMN tried jsonb NOT NULL DEFAULT '[]',
    -- When the members that couldn't load their parts are asked to try again.
    ADD COLUMN retry_at timestamptz;
CREATE INDEX restores_to_retry ON restores (retry_at) WHERE retry_at IS NOT NULL;
CREATE INDEX restores_automatic ON restores (cluster, created_at) WHERE trigger ->> 'kind' = 'automatic';

ALTER TABLE clusters
    ADD COLUMN rollback_limit integer NOT NULL DEFAULT 5 CHECK (rollback_limit >= 0),
    ADD COLUMN rollback_window_ms bigint NOT NULL DEFAULT 600000 CHECK (rollback_window_ms > 0),
    ADD COLUMN rollback_backoff_ms bigint NOT NULL DEFAULT 1000 CHECK (rollback_backoff_ms > 0),
    ADD COLUMN restore_fallback integer NOT NULL DEFAULT 0 CHECK (restore_fallback >= 0),
    -- When the rollback that is put off begins.
    ADD COLUMN rollback_at timestamptz,
    -- Rollbacks of before aren't counted: an operator had the cluster go on.
    ADD COLUMN rollbacks_since timestamptz,
    -- Members of the latest committed snapshot that have other names since it was restored.
    ADD COLUMN latest_mapping jsonb NOT NULL DEFAULT '{}',
    DROP CONSTRAINT clusters_halt_check,
    ADD CONSTRAINT clusters_halt_check CHECK (halt IN ('on_loss', 'no_snapshot', 'restore_failed', 'rollback_limit'));
CREATE INDEX clusters_to_roll_back ON clusters (rollback_at) WHERE rollback_at IS NOT NULL;

-- Committed snapshots that a restore found it can't read. Forgotten when one succeeds after all.
CREATE TABLE unreadable_snapshots (
    snapshot uuid        PRIMARY KEY REFERENCES snapshots (id),
    cluster  text        NOT NULL REFERENCES clusters (name),
    restore  uuid        NOT NULL,
    member   text        NOT NULL,
    detail   text        NOT NULL,
    found_at timestamptz NOT NULL
);

-- What is given up doesn't come back, and what was passed isn't undone.
CREATE FUNCTION restores_go_forward() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT (CASE OLD.state
        WHEN 'planned'   THEN NEW.state IN ('planned', 'preparing', 'resuming', 'completed', 'failed')
        WHEN 'preparing' THEN NEW.state IN ('planned', 'preparing', 'resuming', 'completed', 'failed')
        WHEN 'resuming'  THEN NEW.state IN ('resuming', 'completed')
        ELSE NEW.state = OLD.state
    END) THEN
        RAISE EXCEPTION 'restore % would go from % to %', OLD.id, OLD.state, NEW.state USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.generation < OLD.generation OR (OLD.state IN ('resuming', 'completed', 'failed') AND
        (NEW.generation <> OLD.generation OR NEW.snapshot <> OLD.snapshot)) THEN
        RAISE EXCEPTION 'restore % would use a generation again', OLD.id USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER restores_go_forward BEFORE UPDATE ON restores FOR EACH ROW EXECUTE FUNCTION restores_go_forward();
