"""What the methods' files say of the published packages is what these packages have."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import tomesd
from DeepCache import DeepCacheSDHelper

from worker.accelerators.spec import PublishedPackage
from worker.accelerators.tgate import DEEPCACHE_LOADER_DEFAULTS
from worker.judging.facts.packages import ACCELERATOR_PACKAGES
from worker.judging.sandbox.stand_ins import tgate as stand_in

DEEPCACHE = ACCELERATOR_PACKAGES["deepcache"]
TOME = ACCELERATOR_PACKAGES["tome"]
TGATE = ACCELERATOR_PACKAGES["tgate"]


def defaults_of(function: Callable[..., Any]) -> list[tuple[str, Any]]:
    """Return the parameters that have a default, in their order."""
    parameters = inspect.signature(function).parameters.values()
    return [(item.name, item.default) for item in parameters if item.default is not item.empty]


@pytest.fixture(scope="module")
def tgate() -> ModuleType:
    module: ModuleType = pytest.importorskip("tgate", reason="it comes with the extra [test]")
    return module


def test_of_deepcache() -> None:
    assert defaults_of(DeepCacheSDHelper.set_params) == list(DEEPCACHE.defaults.items())
    assert DEEPCACHE.knows(DeepCacheSDHelper.__name__)


def test_of_tomesd() -> None:
    assert defaults_of(tomesd.apply_patch) == list(TOME.defaults.items())
    assert all(hasattr(tomesd, name) for name in TOME.entry_points)


@pytest.mark.parametrize(
    "loader",
    ["TgateSDLoader", "TgateSDXLLoader", "TgateSDDeepCacheLoader", "TgateSDXLDeepCacheLoader"],
)
def test_of_tgate(tgate: ModuleType, loader: str) -> None:
    own_call = inspect.getmodule(getattr(tgate, loader)).tgate  # type: ignore[union-attr]
    told = TGATE.defaults_of(loader)
    assert [item for item in defaults_of(own_call) if item[0] in told] == list(told.items())
    assert TGATE.knows(loader)


@pytest.mark.parametrize("loader", ["TgateSDDeepCacheLoader", "TgateSDXLDeepCacheLoader"])
def test_of_tgate_s_loaders_with_deepcache(tgate: ModuleType, loader: str) -> None:
    told = list(DEEPCACHE_LOADER_DEFAULTS.items())
    assert defaults_of(getattr(tgate, loader)) == defaults_of(getattr(stand_in, loader)) == told


def test_entry_points_are_patterns() -> None:
    package = PublishedPackage("p", ("apply", "Load*er"), {"a": 1}, {"Load*Fast*": {"a": 2}})
    assert [package.knows(name) for name in ("apply", "Loader", "Load", "applied")] == [
        *(True, True),
        *(False, False),
    ]
    assert package.defaults_of("LoadFaster") == {"a": 2}
    assert package.defaults_of("Loader") == {"a": 1}
