"""The HTML file: a template, the content as JSON, a plotting library and a script, all inside."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from scheduler.config.printable import printable
from scheduler.report.columns import as_columns
from scheduler.report.content import Content
from scheduler.report.pictures.embedding import Pictures

_HERE = Path(__file__).parent
# What the script is told of a task.
_OF_TASKS = ("sweep", "task", "null_arm", "objective", "without_loss", "judged")


class LibraryMissingError(Exception):
    """A package that draws is not installed; the message says which, and what to do."""


def page_of(content: Content, pictures: Pictures) -> str:
    """Return the page.

    Raises:
        LibraryMissingError: plotly or Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, FileSystemLoader
        from markupsafe import Markup
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise LibraryMissingError(
            f"a report is drawn with plotly and Jinja2, and {error.name} is not installed: "
            "pip install 'diffusion-sweeps[report]'"
        ) from None
    files = ["page.js", "pictures/pictures.js"] if pictures.pairs else ["page.js"]
    scripts = [get_plotlyjs(), *map(_own, files)]
    shown = {"pairs": _visible(pictures.told), "images": pictures.images}
    environment = Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
        loader=FileSystemLoader(_HERE),
    )
    environment.filters["utc"] = _utc
    template = environment.get_template("page.html")
    return template.render(
        content=content,
        # Neither of the two holds anything from outside; the hashes let no other script run.
        scripts=[Markup(script) for script in scripts],  # noqa: S704
        hashes=" ".join(f"'sha256-{_digest(script)}'" for script in scripts),
        style=Markup(_own("page.css") + _own("pictures/pictures.css")),  # noqa: S704
        pictures=pictures,
        picture_data=Markup(as_inline_json(shown)),  # noqa: S704
        data=Markup(as_inline_json(_visible(_for_the_script(content)))),  # noqa: S704
    )


def _own(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _for_the_script(content: Content) -> dict[str, Any]:
    """Return what the script is given: rows as columns, and no text that the template has written already."""
    return {
        "sweeps": content.sweeps,
        "metric": content.metric,
        "max_loss": content.max_loss,
        "loss": content.loss_name,
        "rows": as_columns([_without_what_is_told(row, content.loss_name) for row in content.rows]),
        "tasks": [{key: task[key] for key in _OF_TASKS} for task in content.tasks],
        "ran": [asdict(one) for one in content.ran],
    }


def _without_what_is_told(row: dict[str, Any], loss: str) -> dict[str, Any]:
    """Return a row without the metrics that its own speed-up and loss say once more."""
    told = {
        key: row[own] and row[own]["value"] for key, own in (("speedup", "speedup"), (loss, "loss"))
    }
    metrics = {
        name: metric
        for name, metric in row["metrics"].items()
        if name not in told or metric.value != told[name]
    }
    return {**row, "metrics": metrics}


def _visible(value: Any) -> Any:
    """Return a value without letters that hide, or turn the direction of what stands beside them."""
    if type(value) is str:  # not the page's own, which is marked up
        return "\n".join(printable(line, "\N{REPLACEMENT CHARACTER}") for line in value.split("\n"))
    if isinstance(value, dict):
        return {_visible(key): _visible(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_visible(item) for item in value]
    return value


def _utc(seconds: float) -> str:
    """Return a time of day in words."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")


def as_inline_json(value: object) -> str:
    """Return JSON that can stand within a script element: no text in it can end the element."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), default=str)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
