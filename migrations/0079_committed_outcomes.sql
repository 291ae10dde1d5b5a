-- The newest committed snapshots of a cluster, whatever became of them since, without going through those that were aborted.
CREATE INDEX snapshots_committed_ever ON snapshots (cluster, epoch DESC) WHERE epoch IS NOT NULL AND ended_at IS NOT NULL AND abort IS NULL;
