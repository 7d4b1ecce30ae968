"""What a worker's search decided, as plain values: lines with ``decisions`` (docs/results-schema.md).

Which keys a decision has, and what a summary says of the search, is the worker's: they are shown as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_MOST = 1_000  # decisions of a task
_MOST_KEYS = 12
_LONGEST = 2_000  # letters of a value
# What the summary says beside its `search` of what that came to.
_COSTS = ("images_generated", "gpu_seconds", "configurations")


@dataclass(frozen=True)
class Searched:
    """How one task was searched."""

    name: str
    # What the summary says of it, in words by key; empty as long as there is none.
    facts: Mapping[str, str]
    # Of the decisions.
    keys: Sequence[str]
    # Each with a text for each key; the last ones, where there are many.
    decisions: Sequence[Sequence[str]]
    # How many there are before them.
    earlier: int


def searched_of(name: str, lines: Iterable[Mapping[str, Any]]) -> Searched | None:
    """Return how a task was last searched, or None where its results tell of no decisions.

    Args:
        name: what the page calls the task.
        lines: its results file's.
    """
    decisions: list[Mapping[str, Any]] = []
    facts: dict[str, str] = {}
    for line in lines:
        if isinstance(told := line.get("decisions"), list):
            decisions, facts = [one for one in told if isinstance(one, dict)], {}
        elif isinstance(summary := line.get("summary"), dict):
            facts = _facts(summary)
    if not decisions:
        return None
    shown = decisions[-_MOST:]
    # The fullest has its keys in the order that is meant.
    ordered = [max(shown, key=len), *shown]
    keys = list(dict.fromkeys(key for one in ordered for key in one))[:_MOST_KEYS]
    texts = [[in_words(one.get(key)) for key in keys] for one in shown]
    return Searched(name, facts, keys, texts, len(decisions) - len(shown))


def _facts(summary: Mapping[str, Any]) -> dict[str, str]:
    search = summary.get("search")
    if not isinstance(search, dict):
        return {}
    costs = {key: summary[key] for key in _COSTS if key in summary}
    return {
        key.replace("_", " "): in_words(value)
        for key, value in list({**search, **costs}.items())[:_MOST_KEYS]
    }


def in_words(value: object) -> str:
    """Return a value of any kind as text: what is in a mapping as ``key: value``, one behind the other."""
    text = _in_words(value)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def _in_words(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_inner(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_inner, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,.6g}" if isinstance(value, float) else str(value)


def _inner(value: object) -> str:
    return f"({_in_words(value)})" if isinstance(value, dict | list) else _in_words(value)
