-- How the messages that are under way at a cut get into a snapshot: docs/channel-state.md. What is wanted is set by operators; what is in force is
-- copied from it whenever a generation becomes active, so that all members of a generation go by the same. (A replica of an earlier release leaves both
-- alone, and its members go by markers: so change them once all replicas and members know of them.)

ALTER TABLE clusters
    ADD COLUMN channel_state      text   NOT NULL DEFAULT 'marker' CHECK (channel_state IN ('marker', 'sender_logged')),
    ADD COLUMN alignment          text   NOT NULL DEFAULT 'unaligned' CHECK (alignment IN ('unaligned', 'aligned')),
    ADD COLUMN aligned_timeout_ms bigint CHECK (aligned_timeout_ms > 0),
    ADD COLUMN channels_in_force  jsonb  NOT NULL DEFAULT '{"channel_state": "marker", "alignment": "unaligned", "aligned_timeout_ms": null}',
    -- What is recorded once alignment has taken too long needs markers.
    ADD CONSTRAINT clusters_aligned_check CHECK (alignment = 'unaligned' OR channel_state = 'marker');

CREATE FUNCTION channels_change_with_the_generation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.channels_in_force <> OLD.channels_in_force AND NEW.generation = OLD.generation THEN
        RAISE EXCEPTION 'what the members of generation % of cluster % go by would change', OLD.generation, OLD.name
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER channels_change_with_the_generation BEFORE UPDATE ON clusters
    FOR EACH ROW EXECUTE FUNCTION channels_change_with_the_generation();
