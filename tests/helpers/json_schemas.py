"""The schema files of the JSON that commands print, made from the types that are printed.

`python -m tests.helpers.json_schemas` writes them anew; tests hold them against the types.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from scheduler.views.answers import Answers

FOLDER = Path(__file__).parents[2] / "docs" / "data"
FORMS: dict[str, Any] = {"results": Answers}


def schema_file(name: str) -> Path:
    return FOLDER / f"{name}.schema.json"


def schema_of(name: str) -> dict[str, Any]:
    """Return the schema of what ``python -m scheduler NAME --json`` prints."""
    made = TypeAdapter(FORMS[name]).json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


if __name__ == "__main__":
    for name in FORMS:
        schema_file(name).write_text(json.dumps(schema_of(name), indent=1) + "\n")
