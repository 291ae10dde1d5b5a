-- The audit as a chain of hashes, one chain a cluster and one for the rows of none, so that an edited, removed or reordered row is found.
-- How a hash is made, for whoever wants to check one without Stillframe: docs/audit.md.

ALTER TABLE audit
    ADD COLUMN reason    text,
    -- The row's number in its chain, from 1; the hash of the row before it (zeros before the first); its own.
    ADD COLUMN seq       bigint,
    ADD COLUMN prev_hash text,
    ADD COLUMN hash      text;

-- The newest row of each chain ('' is the chain of the rows without a cluster). Its row is the lock under which the chain grows.
CREATE TABLE audit_heads (
    cluster text        PRIMARY KEY,
    seq     bigint      NOT NULL,
    hash    text        NOT NULL,
    at      timestamptz NOT NULL
) WITH (fillfactor = 50);

-- One field of what is hashed: its length in bytes and its bytes, so that no two rows have the same text; or that there is none.
CREATE FUNCTION audit_field(field text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN field IS NULL THEN '-;' ELSE octet_length(convert_to(field, 'UTF8')) || ':' || field || ';' END
$$;

CREATE FUNCTION audit_hash(line audit) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT encode(sha256(convert_to(
        'stillframe audit 1;' || audit_field(line.cluster) || audit_field(line.seq::text) || audit_field(line.prev_hash)
        || audit_field(to_char(line.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
        || audit_field(line.actor) || audit_field(line.action) || audit_field(line.subject) || audit_field(line.reason)
        || audit_field(line.request_id) || audit_field(line.detail::text), 'UTF8')), 'hex')
$$;

-- Every insert passes here, whoever makes it, and none can choose its own number, time or hash. As the owner: who may insert rows may not
-- write the heads.
CREATE FUNCTION audit_chained() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    head audit_heads;
BEGIN
    SELECT * INTO head FROM audit_heads WHERE cluster = coalesce(NEW.cluster, '') FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        INSERT INTO audit_heads (cluster, seq, hash, at) VALUES (coalesce(NEW.cluster, ''), 0, repeat('0', 64), '-infinity')
            ON CONFLICT DO NOTHING;
        SELECT * INTO STRICT head FROM audit_heads WHERE cluster = coalesce(NEW.cluster, '') FOR NO KEY UPDATE;
    END IF;
    NEW.seq := head.seq + 1;
    NEW.prev_hash := head.hash;
    -- After the lock, and never back: in a chain, the order of the times is the order of the rows.
    NEW.at := greatest(clock_timestamp(), head.at);
    NEW.hash := audit_hash(NEW);
    UPDATE audit_heads SET seq = NEW.seq, hash = NEW.hash, at = NEW.at WHERE cluster = head.cluster;
    RETURN NEW;
END $$;

-- What was written before there was a chain is chained as it is found.
DO $$
DECLARE
    line audit;
    head audit_heads;
BEGIN
    LOCK TABLE audit IN SHARE ROW EXCLUSIVE MODE;
    FOR line IN SELECT * FROM audit ORDER BY coalesce(cluster, ''), id LOOP
        IF head.cluster IS DISTINCT FROM coalesce(line.cluster, '') THEN
            head := ROW(coalesce(line.cluster, ''), 0, repeat('0', 64), '-infinity')::audit_heads;
            INSERT INTO audit_heads SELECT head.*;
        END IF;
        line.seq := head.seq + 1;
        line.prev_hash := head.hash;
        line.hash := audit_hash(line);
        UPDATE audit SET seq = line.seq, prev_hash = line.prev_hash, hash = line.hash WHERE id = line.id;
        head.seq := line.seq;
        head.hash := line.hash;
        head.at := greatest(head.at, line.at);
        UPDATE audit_heads h SET seq = head.seq, hash = head.hash, at = head.at WHERE h.cluster = head.cluster;
    END LOOP;
END $$;

ALTER TABLE audit
    ALTER COLUMN seq SET NOT NULL,
    ALTER COLUMN prev_hash SET NOT NULL,
    ALTER COLUMN hash SET NOT NULL;
CREATE UNIQUE INDEX audit_chain ON audit (coalesce(cluster, ''), seq);
CREATE INDEX audit_by_subject ON audit (subject, id);
CREATE INDEX audit_by_time ON audit USING brin (at);

CREATE TRIGGER audit_chained BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION audit_chained();

-- Not even the owner, by mistake. (Whoever owns the table can drop the trigger; then the chain tells.)
CREATE FUNCTION audit_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never changed or removed', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER audit_stays BEFORE UPDATE OR DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_stays();
CREATE TRIGGER audit_is_not_truncated BEFORE TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION audit_stays();
CREATE TRIGGER audit_heads_stay BEFORE DELETE ON audit_heads FOR EACH ROW EXECUTE FUNCTION audit_stays();
CREATE TRIGGER audit_heads_are_not_truncated BEFORE TRUNCATE ON audit_heads FOR EACH STATEMENT EXECUTE FUNCTION audit_stays();
