-- Which archive this database is the catalog of: a coordinator that is given another refuses to start. Written at the first start.
CREATE TABLE catalog (
    is_the_only_row boolean     PRIMARY KEY DEFAULT true CHECK (is_the_only_row),
    archive         uuid        NOT NULL,
    -- Where it was when it was written down; it may have been copied elsewhere since.
    archive_url     text        NOT NULL,
    recorded_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);
