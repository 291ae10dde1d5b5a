-- Whether a member's incarnation has asked for its assignment since it registered. Before it has, it can't have run anything, so the cluster neither
-- counts on it nor loses anything with it. Rows of before, and those that a replica of an earlier release makes, count as seen.
ALTER TABLE members ADD COLUMN seen boolean NOT NULL DEFAULT true;
