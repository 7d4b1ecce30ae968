"""Compare what two programs really built, object by object."""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["match", "mismatch", "only left", "only right"]

# Wide enough for half precision, narrow enough for another checkpoint to differ.
RELATIVE, ABSOLUTE = 1e-3, 1e-5


@dataclass(frozen=True)
class Item:
    """One path in two descriptions, and whether they agree there."""

    path: str
    kind: Kind
    expected: Any
    found: Any


def compare(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[Item]:
    """Compare two descriptions (see ``capture.py``): every value, every tensor."""
    return [
        *_pairs(expected["objects"], found["objects"], _same),
        *_pairs(expected["tensors"], found["tensors"], _close),
    ]


def counts(items: Sequence[Item]) -> dict[str, int]:
    """Return how many paths match, mismatch, or stand on one side only."""
    found = Counter(item.kind for item in items)
    return {
        "matched": found["match"],
        "mismatched": found["mismatch"],
        "only_left": found["only left"],
        "only_right": found["only right"],
    }


def _pairs(
    expected: Mapping[str, Any], found: Mapping[str, Any], agree: Callable[[Any, Any], bool]
) -> Iterator[Item]:
    for path in sorted(expected.keys() | found.keys()):
        if path not in found:
            yield Item(path, "only left", _shown(expected[path]), None)
        elif path not in expected:
            yield Item(path, "only right", None, _shown(found[path]))
        else:
            kind: Kind = "match" if agree(expected[path], found[path]) else "mismatch"
            yield Item(path, kind, _shown(expected[path]), _shown(found[path]))


def _same(expected: object, found: object) -> bool:
    if isinstance(expected, float) and isinstance(found, float):
        return math.isclose(expected, found, rel_tol=1e-9) or expected == found
    return type(expected) is type(found) and expected == found


def _close(expected: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    import numpy as np

    if expected["shape"] != found["shape"] or expected["dtype"] != found["dtype"]:
        return False
    left, right = (
        np.frombuffer(base64.b64decode(side["values"]), dtype=np.float32)
        for side in (expected, found)
    )
    return left.shape == right.shape and bool(
        np.allclose(left, right, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True)
    )


def _shown(value: Any) -> Any:  # any plain value
    if isinstance(value, Mapping):
        return f"{value['dtype']} tensor {value['shape']}"
    return value
