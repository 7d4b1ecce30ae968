"""The checkpoints that are not durable yet, and the pause while files cannot be written. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from scheduler.core.retry import GiveUp

DISK_CHECK = 10.0  # seconds between two tries to write while the sweep is paused


class Writes:
    """What was asked for, what of it failed, and whether that is reason to pause."""

    def __init__(self) -> None:
        # By task: its checkpoint is a .failed for that reason, or a .done.
        self.asked: dict[int, GiveUp | None] = {}
        # Those of them to be asked for again.
        self.failed: set[int] = set()
        self.paused = False
        self._writable = True  # no write has failed since the last look
        # When to try again, in a pause.
        self.next_check = 0.0

    def pause(self, now: float) -> bool:
        """Pause, as a file could not be written; say whether there was no pause before."""
        new = not self.paused
        self.paused, self._writable = True, False
        self.next_check = now + DISK_CHECK
        return new

    def check_is_due(self, now: float) -> bool:
        """Say whether it is time to try again in a pause; each time only once."""
        if self.next_check > now:
            return False
        self.next_check = now + DISK_CHECK
        return True

    def writable_again(self) -> Iterator[tuple[int, GiveUp | None]]:
        """Files can be written again: yield what is to be asked for again."""
        self._writable = True
        failed, self.failed = sorted(self.failed), set()
        for task in failed:
            yield task, self.asked[task]

    def resume(self) -> bool:
        """End the pause if files can be written again and all that waited is; say whether it ended."""
        if not self._writable or self.asked:
            return False
        self.paused = False
        return True
