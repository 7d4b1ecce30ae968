"""The HTML file: a template, the content as JSON, a plotting library and a script, all inside."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from scheduler.report.content import Content

_HERE = Path(__file__).parent


class LibraryMissingError(Exception):
    """A package that draws is not installed; the message says which, and what to do."""


def page_of(content: Content) -> str:
    """Return the page.

    Raises:
        LibraryMissingError: plotly or Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment
        from markupsafe import Markup
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise LibraryMissingError(
            f"a report is drawn with plotly and Jinja2, and {error.name} is not installed: "
            "pip install 'diffusion-sweeps[report]'"
        ) from None
    scripts = [get_plotlyjs(), (_HERE / "page.js").read_text(encoding="utf-8")]
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((_HERE / "page.html").read_text(encoding="utf-8"))
    return template.render(
        content=content,
        # Neither of the two holds anything from outside; the hashes let no other script run.
        scripts=[Markup(script) for script in scripts],  # noqa: S704
        hashes=" ".join(f"'sha256-{_digest(script)}'" for script in scripts),
        style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),  # noqa: S704
        data=Markup(as_inline_json(_short(content.plain()))),  # noqa: S704
    )


def _short(value: Any) -> Any:
    """Return a value with six digits of each measurement and without what is not known of it.

    Ends of intervals stay, also those that are not known; large numbers, as times of day, stay whole.
    """
    if isinstance(value, float):
        return float(f"{value:.6g}") if abs(value) < 1e6 else value
    if isinstance(value, dict):
        return {
            key: _short(item)
            for key, item in value.items()
            if key in ("low", "high", "ended") or not (item is None or item is False or item == "")
        }
    if isinstance(value, list | tuple):
        return [_short(item) for item in value]
    return value


def as_inline_json(value: object) -> str:
    """Return JSON that can stand within a script element: no text in it can end the element."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), default=str)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
