"""The worker's verbs, one per file.

A verb's module offers ``add_arguments(parser)`` and ``run(arguments) -> exit code``. It imports
torch and its relatives inside ``run`` only, so that ``--help`` and ``check`` answer at once.
"""
