"""The scheduler's verbs, one per file, each ``run(arguments) -> exit code``."""
