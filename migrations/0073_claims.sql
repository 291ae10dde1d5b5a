-- When the word of an agent was last taken as evidence that transactions were lost: docs/resync.md.

ALTER TABLE continuity ADD COLUMN claimed_at timestamptz;
