-- Members that leave in good order: docs/membership.md.

ALTER TABLE members
    -- What an operator asked of it.
    ADD COLUMN leave_wish text CHECK (leave_wish IN ('asked', 'forced')),
    -- Since when it is leaving, and which peers have said to send it nothing any more: {"since", "drained": {"<member>": {"incarnation", "sent"}}}
    ADD COLUMN leaving    jsonb,
    -- The latest incarnation of it that left, and the generation that it left: {"incarnation", "generation"}
    ADD COLUMN left_as    jsonb,
    DROP CONSTRAINT members_standing_check,
    ADD CONSTRAINT members_standing_check CHECK (standing IN ('waiting', 'active', 'replacing', 'excluded', 'left')),
    ADD CONSTRAINT members_left_check CHECK (standing <> 'left' OR left_as IS NOT NULL);

-- What members that left counted at their end: part of the certificates of the later snapshots of the generation, so it never changes.
CREATE TABLE departures (
    cluster     text        NOT NULL REFERENCES clusters (name),
    member      text        NOT NULL,
    incarnation bigint      NOT NULL,
    generation  bigint      NOT NULL,
    left_at     timestamptz NOT NULL,
    -- {"member", "incarnation", "sent", "received"}, as in a manifest
    counters    jsonb       NOT NULL,
    PRIMARY KEY (cluster, member, incarnation)
);
CREATE INDEX departures_by_generation ON departures (cluster, generation);

CREATE FUNCTION departures_never_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'what member % of cluster % counted at its end never changes', OLD.member, OLD.cluster;
END
$$;
CREATE TRIGGER departures_never_change BEFORE UPDATE OR DELETE ON departures FOR EACH ROW EXECUTE FUNCTION departures_never_change();
