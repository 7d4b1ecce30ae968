"""The writer and the readers: threads that wait for disks, so that no disk can hold up a start."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from scheduler.storage.atomic import Draft, as_lines, sync_folder, write_durably
from scheduler.storage.logs import ReadingStopped

SYNCERS = 16  # threads: file systems commit syncs that come together as one
Callback = Callable[[], None]
Job = Callable[[], Callback]  # returns what is to be called in the dispatcher's loop
# The same, of what may take long: it asks again and again whether to leave, by ReadingStopped.
Reading = Callable[[Callable[[], bool]], Callback]


class Checkpoint(NamedTuple):
    """A checkpoint to be written: what it holds, and what is to be called then."""

    path: Path
    content: Callable[[], Mapping[str, Any]]  # called by the writer
    written: Callback  # called in the dispatcher's loop
    failed: Callable[[OSError], None]  # called in the dispatcher's loop


class CheckpointWriter(threading.Thread):
    """Does jobs and writes checkpoints, in batches of all that came meanwhile.

    The checkpoints of a batch are synced together and their folder once, and only then are they
    reported. So the more there is to do, the less a checkpoint costs.
    """

    def __init__(self, folder: Path, post: Callable[[Callback], None]) -> None:
        super().__init__(name="writer", daemon=True)
        self._folder = folder
        self._post = post
        self._pool = ThreadPoolExecutor(SYNCERS, thread_name_prefix="sync")
        self._queue: queue.SimpleQueue[Job | Checkpoint | None] = queue.SimpleQueue()

    def submit(self, work: Job | Checkpoint) -> None:
        """Have something done soon."""
        self._queue.put(work)

    def finish(self) -> None:
        """Do all that was submitted, then end; returns when it has."""
        self._queue.put(None)
        self.join()
        self._pool.shutdown()

    def run(self) -> None:
        """Work until `finish`."""
        while True:
            batch = [self._queue.get()]
            while not self._queue.empty():
                batch.append(self._queue.get())
            checkpoints = [work for work in batch if isinstance(work, Checkpoint)]
            jobs = [work for work in batch if work is not None and not isinstance(work, Checkpoint)]
            try:
                results = [job() for job in jobs] + list(self._write(checkpoints))
                self._post(partial(_call_all, results))
            except Exception as error:  # noqa: BLE001  # a defect must end the dispatcher, not only this thread
                self._post(partial(_raise, error))
            if None in batch:
                return

    def _write(self, batch: list[Checkpoint]) -> Iterable[Callback]:
        drafts: list[tuple[Checkpoint, Draft]] = []
        published: list[Checkpoint] = []
        for checkpoint in batch:
            try:
                drafts.append((checkpoint, Draft(checkpoint.path, as_lines(checkpoint.content()))))
            except OSError as error:
                yield partial(checkpoint.failed, error)
        # One alone is sooner synced than handed to a thread.
        sync_all = map if len(drafts) == 1 else self._pool.map
        synced = sync_all(_sync, [draft for _, draft in drafts])
        for (checkpoint, draft), sync_error in zip(drafts, synced, strict=True):
            try:
                if sync_error is not None:
                    raise sync_error
                draft.publish()
            except OSError as error:
                yield partial(checkpoint.failed, error)
            else:
                published.append(checkpoint)
        if published:
            with contextlib.suppress(FileNotFoundError):  # the user removed the folder
                sync_folder(self._folder)
        for checkpoint in published:
            yield checkpoint.written


def write_together(contents: Mapping[Path, Mapping[str, Any]]) -> None:
    """Replace files, each atomically and durably; many cost little more than one.

    Raises:
        OSError: one could not be written; what was there still is.
    """
    with ThreadPoolExecutor(SYNCERS) as pool:
        for written in [pool.submit(write_durably, path, line) for path, line in contents.items()]:
            written.result()


class Readers:
    """Reads long logs, each in a thread of its own: none waits for another, and no checkpoint for any."""

    def __init__(self, post: Callable[[Callback], None]) -> None:
        self._post = post
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def submit(self, reading: Reading) -> None:
        """Have a log read now."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=self._run, args=(reading,), name="reader", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # there may be no more threads
            self._run(reading)
        else:
            self._threads.append(thread)

    def finish(self) -> None:
        """Have all readings left where they are; returns when they are."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _run(self, reading: Reading) -> None:
        try:
            self._post(reading(self._stopping.is_set))
        except ReadingStopped:
            pass  # the next dispatcher reads it
        except Exception as error:  # noqa: BLE001  # a defect must end the dispatcher, not only this thread
            self._post(partial(_raise, error))


def _sync(draft: Draft) -> OSError | None:
    try:
        draft.sync()
    except OSError as error:
        return error
    return None


def _call_all(callbacks: list[Callback]) -> None:
    for callback in callbacks:
        callback()


def _raise(error: Exception) -> None:
    raise error
