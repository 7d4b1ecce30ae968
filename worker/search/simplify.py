"""Which configurations do the same as a simpler one, by what their methods declare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from worker.accelerators.registry import specs
from worker.accelerators.spec import Context, Values
from worker.models.task import Task
from worker.search.configuration import BASELINE, Configuration
from worker.search.incompatible import drops_guidance_at


def simplify(
    configuration: Configuration, task: Task, guided: bool
) -> tuple[Configuration, list[str]]:
    """Return the simplest configuration that does the same, and what made it simpler."""
    if configuration.steps is not None and configuration.steps >= task.steps:
        return BASELINE, [f"the task itself has only {task.steps} steps"]
    because: list[str] = []
    simpler: dict[str, Values] = {}
    context = _context(configuration.accelerators, task, guided)
    for name, values in configuration.accelerators.items():
        kept, reason = specs()[name].simplify(dict(values), context)
        if reason is not None:
            because.append(reason)
        if kept is not None:
            simpler[name] = kept
    if configuration.accelerators:
        configuration = Configuration.accelerated(simpler)
    return configuration, because


def effect(configuration: Configuration, task: Task, guided: bool) -> str:
    """Return a text that is equal for configurations that do the same, however they are named."""
    context = _context(configuration.accelerators, task, guided)
    effects = {
        name: specs()[name].effect(values, context)
        for name, values in configuration.accelerators.items()
    }
    return replace(configuration, accelerators=effects).key


def _context(accelerators: Mapping[str, Values], task: Task, guided: bool) -> Context:
    gate = drops_guidance_at(accelerators)
    full = frozenset(range(task.calls))
    for name, values in accelerators.items():
        whole = specs()[name].full_calls(values, task.calls, gate)
        full = full if whole is None else full & whole
    return Context(task, guided, gate, full)
