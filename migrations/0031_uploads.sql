-- Uploads in pieces that were begun and may not have been completed. Written before the first piece: a store can't be asked for them, and keeps
-- (and bills) what was sent until the upload is completed or aborted.

CREATE TABLE uploads (
    snapshot    uuid        NOT NULL REFERENCES snapshots (id),
    key         text        NOT NULL,
    upload      text        NOT NULL CHECK (octet_length(upload) BETWEEN 1 AND 1024),
    member      text        NOT NULL,
    incarnation bigint      NOT NULL,
    begun_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (snapshot, key, upload)
);
