"""A browser for the tests of pages, and what a page does to it that it must not."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium is installed")
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium: Any) -> Iterator[Any]:
    """Yield a tab that must load nothing but its file and say no error."""
    page = chromium.new_page()
    told: list[str] = []
    page.on("console", lambda said: told.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("request", lambda request: told.append(request.url))
    yield page
    page.close()
    bad = [one for one in told if not one.startswith(("data:", "blob:", "file:"))]
    assert bad == []


@pytest.fixture
def axe() -> Callable[[Any], list[str]]:
    """Return what tells the serious faults that axe finds in a tab's page."""
    api = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe is not installed"
    )

    def faults(tab: Any) -> list[str]:
        found = api.Axe().run(tab).response["violations"]
        return [one["id"] for one in found if one["impact"] in ("serious", "critical")]

    return faults
