-- The schema of a coordinator's database. How to change it: README.md.
--
-- The words are those of the design: cluster, member, incarnation, generation, epoch, snapshot, part, restore. States are text, checked
-- here and enums in the code. Times are the database's own (clock_timestamp()).

CREATE TABLE clusters (
    name                text        PRIMARY KEY CHECK (name ~ '^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$' AND position('..' IN name) = 0),
    min_members         integer     NOT NULL CHECK (min_members BETWEEN 1 AND 10000),
    snapshot_timeout_ms bigint      NOT NULL CHECK (snapshot_timeout_ms > 0),
    on_loss             text        NOT NULL CHECK (on_loss IN ('restore_latest', 'halt')),
    archive_prefix      text,
    -- How many snapshots may be recording or committing at once, and the least time between the beginnings of two.
    max_concurrent      integer     NOT NULL DEFAULT 1 CHECK (max_concurrent >= 1),
    min_pause_ms        bigint      NOT NULL DEFAULT 0 CHECK (min_pause_ms >= 0),
    phase               text        NOT NULL DEFAULT 'forming' CHECK (phase IN ('forming', 'running', 'restoring', 'halted')),
    phase_reason        text,
    halt                text        CHECK (halt IN ('on_loss', 'no_snapshot', 'restore_failed')),
    -- The active generation (0: has never run), and the newest one that was allocated, burned ones included.
    generation          bigint      NOT NULL DEFAULT 0,
    last_generation     bigint      NOT NULL DEFAULT 0,
    epoch               bigint      NOT NULL DEFAULT 0,
    -- Raised by each change that agents must know; and by each transition, whether they must or not.
    revision            bigint      NOT NULL DEFAULT 1,
    version             bigint      NOT NULL DEFAULT 1,
    peers_revision      bigint      NOT NULL DEFAULT 1,
    last_member_id      integer     NOT NULL DEFAULT 0,
    latest_committed    uuid,
    created_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((phase = 'halted') = (halt IS NOT NULL)),
    CHECK (generation BETWEEN 0 AND last_generation),
    CHECK (peers_revision <= revision)
);

-- Numbers are never reused, whatever a replica believes.
CREATE FUNCTION clusters_only_grow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.epoch < OLD.epoch OR NEW.generation < OLD.generation OR NEW.last_generation < OLD.last_generation
        OR NEW.revision < OLD.revision OR NEW.version < OLD.version
        OR NEW.last_member_id < OLD.last_member_id THEN
        RAISE EXCEPTION 'a counter of cluster % would go back', OLD.name USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER clusters_only_grow BEFORE UPDATE ON clusters FOR EACH ROW EXECUTE FUNCTION clusters_only_grow();

CREATE TABLE members (
    cluster       text        NOT NULL REFERENCES clusters (name),
    name          text        NOT NULL CHECK (name ~ '^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$' AND position('..' IN name) = 0),
    member_id     integer     NOT NULL,
    incarnation   bigint      NOT NULL CHECK (incarnation >= 1),
    instance      uuid        NOT NULL,
    address       text        NOT NULL,
    state         text        NOT NULL CHECK (state IN ('live', 'lost')),
    -- What this incarnation is to the cluster: waiting (has not run yet), active (runs in `generation`), replacing (its name ran in the
    -- generation under an older incarnation; waits for a restore), excluded (was put out by a restore).
    standing      text        NOT NULL CHECK (standing IN ('waiting', 'active', 'replacing', 'excluded')),
    generation    bigint      NOT NULL DEFAULT 0,
    epoch         bigint      NOT NULL DEFAULT 0,
    restore       uuid,
    registered_at timestamptz NOT NULL,
    PRIMARY KEY (cluster, name),
    UNIQUE (cluster, member_id)
);

CREATE FUNCTION incarnations_only_grow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.incarnation < OLD.incarnation OR NEW.member_id <> OLD.member_id
        OR (NEW.incarnation = OLD.incarnation AND NEW.instance <> OLD.instance) THEN
        RAISE EXCEPTION 'the incarnation of member % of cluster % would be reused', OLD.name, OLD.cluster
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER incarnations_only_grow BEFORE UPDATE ON members FOR EACH ROW EXECUTE FUNCTION incarnations_only_grow();

-- Apart from members, and without an index on what changes: leases are renewed all the time and take no part in any lock.
CREATE TABLE leases (
    cluster     text        NOT NULL,
    member      text        NOT NULL,
    incarnation bigint      NOT NULL,
    -- The replica that holds the member's poll.
    holder      uuid,
    seen_at     timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (cluster, member)
) WITH (fillfactor = 50);

CREATE TABLE snapshots (
    id                 uuid        PRIMARY KEY,
    cluster            text        NOT NULL REFERENCES clusters (name),
    epoch              bigint,
    generation         bigint      NOT NULL,
    state              text        NOT NULL CHECK (state IN ('pending', 'recording', 'committing', 'committed', 'aborted', 'deleting', 'deleted')),
    abort              jsonb,
    trigger            jsonb       NOT NULL,
    labels             jsonb       NOT NULL,
    timeout_ms         bigint      NOT NULL CHECK (timeout_ms > 0),
    inline_limit       bigint      NOT NULL,
    -- The view, frozen when recording begins: {"<member>": <incarnation>}.
    view               jsonb       NOT NULL,
    view_members       integer     NOT NULL,
    created_at         timestamptz NOT NULL,
    recording_at       timestamptz,
    committing_at      timestamptz,
    ended_at           timestamptz,
    deadline_at        timestamptz NOT NULL,
    messages_in_flight bigint,
    -- When what an aborted snapshot left in the archive is to be deleted (again); null when nothing is to be done.
    sweep_at           timestamptz,
    sweeps             integer     NOT NULL DEFAULT 0,
    UNIQUE (cluster, epoch),
    CHECK ((epoch IS NULL) = (recording_at IS NULL)),
    CHECK (state <> 'pending' OR epoch IS NULL),
    CHECK (state NOT IN ('recording', 'committing', 'committed') OR epoch IS NOT NULL),
    CHECK (state <> 'aborted' OR abort IS NOT NULL),
    CHECK (state NOT IN ('pending', 'recording', 'committing', 'committed') OR abort IS NULL),
    CHECK ((state IN ('pending', 'recording', 'committing')) = (ended_at IS NULL))
);
CREATE INDEX snapshots_by_cluster ON snapshots (cluster, id DESC);
CREATE INDEX snapshots_open ON snapshots (cluster, state) WHERE state IN ('pending', 'recording', 'committing');
CREATE INDEX snapshots_due ON snapshots (deadline_at) WHERE state IN ('pending', 'recording');
CREATE INDEX snapshots_to_sweep ON snapshots (sweep_at) WHERE sweep_at IS NOT NULL;

-- Committed and aborted exclude each other for ever, and a view is frozen.
CREATE FUNCTION snapshots_go_forward() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
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
CREATE TRIGGER snapshots_go_forward BEFORE UPDATE ON snapshots FOR EACH ROW EXECUTE FUNCTION snapshots_go_forward();

-- One row a reported part. Rows are never changed: the manifest is a function of them.
CREATE TABLE parts (
    snapshot    uuid        NOT NULL REFERENCES snapshots (id),
    member      text        NOT NULL,
    incarnation bigint      NOT NULL,
    -- The part as the manifest has it: objects, sent, received, recorded.
    content     jsonb       NOT NULL,
    bytes       bigint      NOT NULL,
    reported_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (snapshot, member)
);

-- What members said they wait for; only the latest word of each counts, and only while the snapshot is being recorded.
CREATE TABLE progress (
    snapshot      uuid        NOT NULL REFERENCES snapshots (id),
    member        text        NOT NULL,
    missing       jsonb       NOT NULL,
    spooled_bytes bigint      NOT NULL,
    at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (snapshot, member)
);

CREATE TABLE restores (
    id          uuid        PRIMARY KEY,
    cluster     text        NOT NULL REFERENCES clusters (name),
    snapshot    uuid        NOT NULL REFERENCES snapshots (id),
    -- The generation it makes; a new one each time that it has to prepare again.
    generation  bigint      NOT NULL,
    state       text        NOT NULL CHECK (state IN ('planned', 'preparing', 'resuming', 'completed', 'failed')),
    trigger     jsonb       NOT NULL,
    failure     text,
    -- {"<member>": {"incarnation", "phase", "bytes", "error"}}
    members     jsonb       NOT NULL,
    created_at  timestamptz NOT NULL,
    resumed_at  timestamptz,
    ended_at    timestamptz,
    deadline_at timestamptz NOT NULL,
    CHECK ((state IN ('completed', 'failed')) = (ended_at IS NOT NULL)),
    CHECK ((state IN ('resuming', 'completed')) = (resumed_at IS NOT NULL))
);
-- Two can't run at once on a cluster.
CREATE UNIQUE INDEX restores_one_under_way ON restores (cluster) WHERE state IN ('planned', 'preparing', 'resuming');
CREATE INDEX restores_by_cluster ON restores (cluster, id DESC);
CREATE INDEX restores_due ON restores (deadline_at) WHERE state IN ('planned', 'preparing');

CREATE TABLE schedules (
    cluster       text        NOT NULL REFERENCES clusters (name),
    name          text        NOT NULL CHECK (name ~ '^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$' AND position('..' IN name) = 0),
    every_ms      bigint      NOT NULL CHECK (every_ms > 0),
    timeout_ms    bigint      CHECK (timeout_ms > 0),
    next_at       timestamptz NOT NULL,
    last_slot_at  timestamptz,
    last_snapshot uuid,
    last_skip     text,
    created_at    timestamptz NOT NULL,
    PRIMARY KEY (cluster, name)
);
CREATE INDEX schedules_due ON schedules (next_at);

-- The slots that were decided: a slot fires at most once, over all replicas. Trimmed well after they are past.
CREATE TABLE schedule_slots (
    cluster  text        NOT NULL,
    schedule text        NOT NULL,
    slot_at  timestamptz NOT NULL,
    snapshot uuid,
    skip     text,
    PRIMARY KEY (cluster, schedule, slot_at)
);

-- Every change of state, with who asked, in the same transaction. (A hash chain by cluster is to come: prev_hash, hash.)
CREATE TABLE audit (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cluster    text,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor      text        NOT NULL,
    action     text        NOT NULL,
    subject    text        NOT NULL,
    detail     jsonb       NOT NULL,
    request_id text
);
CREATE INDEX audit_by_cluster ON audit (cluster, id);
