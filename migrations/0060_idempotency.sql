-- Requests that are carried out once, however often they are sent: what was asked under each key, and what was answered.
CREATE TABLE idempotency_keys (
    key           text        PRIMARY KEY CHECK (length(key) BETWEEN 1 AND 255),
    -- Of method, path, query and body: another request under the same key is a mistake of the client's.
    fingerprint   text        NOT NULL,
    -- What the request makes gets this id, so that carrying it out again finds it made.
    seed          uuid        NOT NULL,
    attempts      integer     NOT NULL DEFAULT 1,
    -- Until when whoever carries it out has to say that it still does; then another replica does.
    claimed_until timestamptz NOT NULL,
    status        smallint    CHECK (status BETWEEN 200 AND 499),
    content_type  text,
    location      text,
    body          bytea,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((status IS NULL) = (body IS NULL))
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- A restore ends once: whoever carried a request out late, after another had done so in its place, doesn't open it again.
CREATE FUNCTION restores_end_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.ended_at IS NOT NULL AND NEW.state <> OLD.state THEN
        RAISE EXCEPTION 'restore % has ended (%) and would become %', OLD.id, OLD.state, NEW.state USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER restores_end_once BEFORE UPDATE ON restores FOR EACH ROW EXECUTE FUNCTION restores_end_once();
