"""Reasons in words. Nothing that decides may import this: words are made where files and screens are."""

from __future__ import annotations

from scheduler.config.units import format_duration, format_size
from scheduler.core.retry import GiveUp, GiveUpCode, RetryCode, RetryReason

_RETRY = {
    RetryCode.STOPPED: "was stopped",
    RetryCode.STAGE_DONE: "what is timed is measured",
    RetryCode.FAILED: "{kind}",
    RetryCode.DEVICE_ERROR: "{kind}",
    RetryCode.HALVES_ARGUMENTS: "out of memory: halves {arguments}",
    RetryCode.NEEDS_MEMORY: "out of memory: needs a device with more than {memory} free",
    RetryCode.OUT_OF_MEMORY: "out of memory",
    RetryCode.MEMORY_TAKEN: "others took the device's memory",
    RetryCode.ASKS_FOR_MORE: "out of memory on a shared device: asks for {memory} of one",
    RetryCode.BESIDE_OTHERS: "out of memory on a shared device, within what it had asked for",
    RetryCode.OTHER: "for a reason that was not recorded",
}
_AFTER_A_PAUSE = "waits {pause} after: {reason}"
_GIVE_UP = {
    GiveUpCode.BY_HAND: "stopped by hand",
    GiveUpCode.WRONG_CODE: "{cause}; the same code would fail again",
    GiveUpCode.NO_ATTEMPTS_LEFT: "{cause} (attempt {attempts} of {max_attempts})",
    GiveUpCode.TOO_FEW_DEVICES: "needs {devices} devices at once, and {most_devices} is the most here",
    GiveUpCode.NO_SUCH_MEMORY: _RETRY[RetryCode.NEEDS_MEMORY] + ", and there is none",
}


def retry_text(reason: RetryReason) -> str:
    """Return why a task is tried again."""
    if reason.words is not None:
        return reason.words
    text = _RETRY[reason.code].format(
        kind=reason.kind.value if reason.kind is not None else "failed",
        arguments=", ".join(reason.arguments),
        memory=format_size(reason.memory or 0),
    )
    if not reason.pause:
        return text
    return _AFTER_A_PAUSE.format(pause=format_duration(reason.pause), reason=text)


def give_up_text(reason: GiveUp) -> str:
    """Return why a task is given up."""
    return _GIVE_UP[reason.code].format(
        cause=reason.cause,
        attempts=reason.attempts,
        max_attempts=reason.max_attempts,
        memory=format_size(reason.memory or 0),
        devices=reason.devices,
        most_devices=reason.most_devices,
    )


def set_aside_text(cause: str) -> str:
    """Return why a device is set aside; ``cause`` is that of the last failure on it."""
    return f"different tasks failed on it and nowhere else, the last with: {cause}"


def braked_text(tasks: int, cause: str) -> str:
    """Return why a sweep has stopped by itself; ``cause`` is that of the first of the tasks."""
    who = f"the first {tasks} tasks all failed alike" if tasks > 1 else "the first task failed"
    return f"{who}, and none was completed: {cause} (retries.stop_after)"
