"""Bronze, stage and current: from the runs of the daemon to the latest row of each key."""
