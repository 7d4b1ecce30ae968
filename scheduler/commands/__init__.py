"""The scheduler's verbs, one per file: ``add_arguments(parser)`` and ``run(arguments) -> exit code``."""
