-- Schedules by cron expression in a time zone, jitter, pauses, and what becomes of slots that overlap or were missed.

ALTER TABLE schedules
    ALTER COLUMN every_ms DROP NOT NULL,
    ADD COLUMN cron           text,
    ADD COLUMN time_zone      text        NOT NULL DEFAULT 'UTC',
    ADD COLUMN jitter_ms      bigint      NOT NULL DEFAULT 0 CHECK (jitter_ms >= 0),
    ADD COLUMN min_pause_ms   bigint      NOT NULL DEFAULT 0 CHECK (min_pause_ms >= 0),
    ADD COLUMN labels         jsonb       NOT NULL DEFAULT '{}',
    ADD COLUMN on_overlap     text        NOT NULL DEFAULT 'skip' CHECK (on_overlap IN ('skip', 'queue')),
    ADD COLUMN misfire        text        NOT NULL DEFAULT 'skip' CHECK (misfire IN ('skip', 'once')),
    -- Until it is resumed; a pause with an end only moves the next slot behind that.
    ADD COLUMN paused         boolean     NOT NULL DEFAULT false,
    ADD COLUMN paused_until   timestamptz,
    -- The next slot; next_at is when it fires, jitter included.
    ADD COLUMN next_slot_at   timestamptz,
    ADD COLUMN missed         bigint      NOT NULL DEFAULT 0,
    ADD COLUMN last_missed_at timestamptz,
    ADD CHECK ((every_ms IS NULL) <> (cron IS NULL));
