"""What a dispatcher knows of one device that it may use, and of its attempts there."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from scheduler.devices.idle import IdleTracker
from scheduler.devices.lease import Lease
from scheduler.devices.model import Reading
from scheduler.devices.watch import INTERVAL

LAST_SECONDS = 5.0  # of an attempt, in which the memory that it lacked was short
LAST_READINGS = int(LAST_SECONDS / INTERVAL) + 1


class AttemptOnDevice:
    """What is known of an attempt of ours on a device."""

    __slots__ = ("held", "most_taken", "share", "supervisor", "told")

    def __init__(self, supervisor: int, share: int | None) -> None:
        self.supervisor = supervisor
        # Bytes that it asked for of a device that it shares; None: it has it alone.
        self.share = share
        # Bytes that its processes hold, by the last reading, and the most that they ever held.
        self.held: int | None = None
        self.most_taken: int | None = None
        # More than this is to be told.
        self.told = share or 0


class DeviceUse:
    """What is known of one device."""

    def __init__(self, tracker: IdleTracker) -> None:
        self.tracker = tracker
        # Ours on it, by task.
        self.attempts: dict[str, AttemptOnDevice] = {}
        # The last to use it was an attempt of ours.
        self.ours_last = False
        # When one of ours last began or ended.
        self.changed = 0.0
        # When it was last seen to compute; None: not known.
        self.last_active: float | None = None
        # Others came while our attempt ran.
        self.others_came = False
        # Since when there is memory of nobody in sight during our attempt; None: there is none.
        self.hidden_since: float | None = None
        # When how much memory was free during our attempt: the last readings.
        self.free: deque[tuple[float, int]] = deque(maxlen=LAST_READINGS)
        # Since when it is left to another dispatcher; None: at the last look it was not.
        self.left_since: float | None = None
        # Beside its supervisor's, of whose file the name is gone.
        self.lease: Lease | None = None
        # A lease of it was refused, and whether one of a part.
        self.refused = False
        self.refused_part = False
        self.gone = False
        # What was last told of it, without figures.
        self.shown: tuple[bool, tuple[object, ...]] | None = None

    @property
    def sharing(self) -> bool:
        """Whether attempts of ours are on it that others may run beside."""
        return bool(self.attempts) and all(a.share is not None for a in self.attempts.values())

    def note_memory(self, reading: Reading, own: Mapping[int, str]) -> None:
        """Take note of how much memory each attempt holds.

        Args:
            reading: the look at the device.
            own: the tasks of the attempts' processes, by process id.
        """
        held: dict[str, int] = {}
        for process in reading.processes or ():
            if process.pid in own and process.used_memory is not None:
                task = own[process.pid]
                held[task] = held.get(task, 0) + process.used_memory
        for task, attempt in self.attempts.items():
            attempt.held = held.get(task, attempt.held and 0)
            if attempt.held is not None:
                attempt.most_taken = max(attempt.most_taken or 0, attempt.held)

    def free_for_more(self, reading: Reading) -> int | None:
        """Return the bytes that are free and that no attempt has asked for and not yet taken."""
        if reading.free_memory is None:
            return None
        to_come = sum(
            max(0, (attempt.share or 0) - attempt.held)
            for attempt in self.attempts.values()
            if attempt.held is not None
        )
        return max(0, reading.free_memory - to_come)
