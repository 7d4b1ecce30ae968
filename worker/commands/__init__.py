"""The worker's commands, one per file.

A command's module offers ``add_arguments(parser)`` and ``run(arguments) -> exit code``. It imports
torch and its relatives inside ``run`` only, so that ``--help`` and ``check`` answer at once.
"""
