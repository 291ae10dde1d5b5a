-- A random stamp beside the version of a cluster's row: a database that lost transactions and then counted up again to a version that somebody
-- remembers has other facts, and another stamp. Docs: docs/adr/0010.

ALTER TABLE clusters ADD COLUMN stamp uuid NOT NULL DEFAULT gen_random_uuid();

-- As before, and: whoever raises the version without choosing a stamp, as a replica of an earlier release does, gets one.
CREATE OR REPLACE FUNCTION clusters_only_grow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.epoch < OLD.epoch OR NEW.generation < OLD.generation OR NEW.last_generation < OLD.last_generation
        OR NEW.revision < OLD.revision OR NEW.version < OLD.version
        OR NEW.last_member_id < OLD.last_member_id THEN
        RAISE EXCEPTION 'a counter of cluster % would go back', OLD.name USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.version <> OLD.version AND NEW.stamp = OLD.stamp THEN
        NEW.stamp := gen_random_uuid();
    END IF;
    RETURN NEW;
END $$;
