"""One configuration: what is done to the pipeline, under which name, and in which role."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.accelerators.registry import specs
from worker.accelerators.spec import Role, Values


@dataclass(frozen=True)
class Configuration:
    """What is done to the pipeline: accelerators with their parameters, steps, seeds."""

    role: Role
    accelerators: Mapping[str, Values] = field(default_factory=dict)
    steps: int | None = None
    """Steps instead of the task's (the control "fewer steps")."""
    seeds: int = 0
    """Which set of seeds; 1 gives other starting latents (the null arm)."""

    @classmethod
    def fewer_steps(cls, steps: int) -> Configuration:
        """Return the control of so many steps."""
        return cls("control", steps=steps)

    @classmethod
    def other_seeds(cls) -> Configuration:
        """Return the null arm: the baseline with other starting latents."""
        return cls("control", seeds=1)

    @classmethod
    def accelerated(cls, accelerators: Mapping[str, Values]) -> Configuration:
        """Return a configuration with these methods: a control where one of them is one."""
        if not accelerators:
            return BASELINE
        roles = {specs()[name].role for name in accelerators}
        return cls("control" if "control" in roles else "candidate", accelerators)

    @property
    def label(self) -> str:
        """A short name, e.g. ``DeepCache 3/0 + T-GATE 10``."""
        if self.steps is not None:
            return f"{self.steps} steps"
        if self.seeds:
            return "baseline, other seeds"
        parts = [
            spec.label(self.accelerators[name])
            for name, spec in specs().items()
            if name in self.accelerators
        ]
        return " + ".join(parts) or "baseline"

    def as_json(self) -> dict[str, Any]:
        """Return the configuration as it stands in a results file."""
        described: dict[str, Any] = {
            "accelerators": {name: dict(values) for name, values in self.accelerators.items()}
        }
        if self.steps is not None:
            described["steps"] = self.steps
        if self.seeds:
            described["seeds"] = self.seeds
        return described

    @property
    def key(self) -> str:
        """A text that is equal for equal configurations."""
        return json.dumps(self.as_json(), sort_keys=True)


BASELINE = Configuration("baseline")
