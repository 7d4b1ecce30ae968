"""Which rows can be compared with what is measured today."""

from __future__ import annotations

from typing import Any

import pytest

from worker.results import environment

HERE = environment.describe("cpu")


def with_versions(**changed: str | None) -> dict[str, Any]:
    return HERE | {"versions": HERE["versions"] | changed}


def test_packages_that_an_accelerator_needs_are_told() -> None:
    names = ["torch", "diffusers", "transformers", "tomesd", "open_clip_torch", "torchmetrics"]
    assert list(HERE["versions"]) == names


def test_a_row_agrees_with_its_own_environment() -> None:
    assert environment.agree(HERE, HERE)


def test_a_row_from_before_an_accelerator_was_added_still_counts() -> None:
    assert environment.agree(HERE, with_versions(another="1.0"))


@pytest.mark.parametrize(
    "there",
    [
        {},
        HERE | {"device": "another"},
        HERE | {"threads": 99},
        HERE | {"versions": None},
        HERE | {"versions": {}},
        with_versions(torch="2.0"),
        with_versions(tomesd=None),
        with_versions(another="1.0"),
    ],
)
def test_a_row_of_another_environment_does_not(there: dict[str, Any]) -> None:
    assert not environment.agree(there, HERE)
