"""What is kept on disk: checkpoints, attempts, logs, the journal, the sweep's lock."""
