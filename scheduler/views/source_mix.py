"""Which tasks of a sweep ran with other code than the newest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from scheduler.config.printable import printable
from scheduler.core.progress import SweepProgress
from scheduler.executors.source_log import Versions, pairs
from scheduler.storage.paths import SweepPaths
from scheduler.views.tables import fill_from_checkpoints

_MOST_NAMED = 5  # files
_ID = 12  # characters of a commit's id


def find_other_code(progress: SweepProgress, paths: SweepPaths) -> None:
    """Add to the views of ended tasks which code of theirs is not that of the newest attempt.

    That is a file by its path, or the commit, by an empty one, where no file differs. Only if there ever were
    two versions of anything are all checkpoints read for it.
    """
    if not Versions(paths.versions).mix():
        return
    fill_from_checkpoints(progress, paths, progress.tasks)
    known = [view for view in progress.tasks.values() if view.source is not None]
    newest: dict[str, str] = {}
    for view in sorted(known, key=lambda view: view.started or 0.0):
        newest.update(pairs(view.source or {}))
    for view in known:
        other = [name for name, digest in pairs(view.source or {}) if newest[name] != digest]
        view.other_code = tuple(name for name in other if name) or tuple(other)


def remarks_on_code(progress: SweepProgress) -> Iterator[str]:
    """Yield what is to be said of tasks that ran with other code; call `find_other_code` before."""
    other = [view for view in progress.tasks.values() if view.other_code]
    files = Counter(name for view in other for name in view.other_code if name)
    if files:
        count = sum(view.other_code != ("",) for view in other)
        names = ", ".join(list(files)[:_MOST_NAMED]) + (", …" if len(files) > _MOST_NAMED else "")
        yield printable(
            f"{_tasks(count)} ran with other code than the newest ({names} changed)", " "
        )
    if commits := Counter(_commit(view.source) for view in other if view.other_code == ("",)):
        yield f"{_tasks(commits.total())} ran at another commit than the newest ({', '.join(commits)})"


def _commit(source: Mapping[str, object] | None) -> str:
    return printable(str((source or {}).get("commit")))[:_ID]


def _tasks(count: int) -> str:
    return f"{count} task{'s' if count != 1 else ''}"
