"""``python -m worker COMMAND …``: the command line (see commands/main.py)."""

# No `from __future__ import` here: it would import a file of that name in the current folder.
import os
import sys


def leave_out_current_folder() -> None:
    """Take the current folder off the path, where `python -m` puts it, unless it holds this package.

    A file there that bears a module's name is no module of ours, and may be hostile. What is imported
    before this, Python itself has imported.
    """

    def is_at(folder: str, place: str) -> bool:
        try:
            return os.path.samefile(folder or os.curdir, place)
        except OSError:
            return False

    package = os.path.dirname(os.path.abspath(__file__))
    own, foreign = os.path.dirname(package), (os.curdir, package)
    sys.path[:] = [
        folder
        for folder in sys.path
        if is_at(folder, own) or not any(is_at(folder, place) for place in foreign)
    ]
    if not any(is_at(folder, own) for folder in sys.path):  # this file was run by its path
        sys.path.insert(0, own)


leave_out_current_folder()


def main(argv: list[str] | None = None) -> int:
    """Return the command's exit code."""
    from worker.commands.main import main

    return main(argv)


if __name__ == "__main__":
    sys.exit(main())
