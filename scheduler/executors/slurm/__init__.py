"""Attempts as Slurm's jobs, each kept alive by a lease on the storage that its node shares with us."""
