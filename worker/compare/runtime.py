"""Build what a program builds, apart from the judge, and read its description back."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker.compare import match, sandbox, source
from worker.compare.extract import CALL_FIELDS, FIELDS, NOT_CALLED, Findings
from worker.compare.values import DictThing, ListThing, Unknown, Value
from worker.errors import ConfigurationError, TryAgainLaterError
from worker.sources import local_source

_MAX_TEXT = 20_000


@dataclass(frozen=True)
class Built:
    """What came of running a program.

    Attributes:
        findings: the fields, as the static reading names them; unknown where it built nothing.
        description: see ``describe.py``; None where it built nothing.
        problem: why it did not run through, in one sentence; None if it did.
        confined: what it was kept from.
        output: the first and last of what it printed.
    """

    findings: Findings
    description: dict[str, Any] | None
    problem: str | None
    confined: dict[str, bool] = field(default_factory=dict)
    output: str = ""


def build(
    program: bytes,
    models: Mapping[str, str],
    limits: sandbox.Limits,
    hidden: Sequence[str | Path] = (),
) -> Built:
    """Run a program apart and return what it built and called last; ``hidden`` it does not see."""
    folders = {name: local_source(place) for name, place in models.items()}
    outcome = sandbox.run_apart(
        program, {"models": folders}, limits, [str(Path(path).resolve()) for path in hidden]
    )
    return interpret(outcome)


def interpret(outcome: sandbox.Outcome) -> Built:
    """Return what came of a run: whatever its frames say, they are only data."""
    problem = _problem(outcome)
    described = [frame for frame in outcome.frames if frame.get("kind") in ("call", "built")]
    description = described[-1] if described and not outcome.tampered else None
    if description is not None:
        try:
            findings = _findings(description)
        except (KeyError, TypeError, AttributeError):
            description, problem = None, "it sent a description that cannot be read"
    if description is None:
        problem = problem or "it builds no pipeline"
        findings = Findings(dict.fromkeys(FIELDS, Unknown("the program built nothing")))
    return Built(findings, description, problem, outcome.confined, outcome.output)


def _problem(outcome: sandbox.Outcome) -> str | None:
    if outcome.tampered:
        return "it wrote to the channel that its result takes"
    if outcome.ended != "ended":
        return outcome.in_words
    error = next(
        (frame.get("error") for frame in outcome.frames if frame.get("kind") == "end"), None
    )
    if error is not None:
        return f"it fails: {error}"
    return None if outcome.code == 0 else outcome.in_words


def _findings(description: Mapping[str, Any]) -> Findings:
    """Turn a description's fields into findings; whatever a program may have put there."""
    told = description["fields"]
    if not isinstance(description["objects"], dict) or not isinstance(description["tensors"], dict):
        raise TypeError("objects and tensors are no mappings")
    fields: dict[str, Value] = {}
    for name in FIELDS:
        missing = NOT_CALLED if name in CALL_FIELDS else None
        fields[name] = _value(told.get(name, missing))
    return Findings(fields)


def _value(told: object, depth: int = 0) -> Value:
    if depth > 5:
        return Unknown("a value nested too deeply")
    if isinstance(told, dict):
        return DictThing({str(key): _value(item, depth + 1) for key, item in told.items()})
    if isinstance(told, list):
        return ListThing.of(tuple(_value(item, depth + 1) for item in told))
    return told[:_MAX_TEXT] if isinstance(told, str) else told


def contradictions(read: Findings, built: Findings) -> list[str]:
    """Return the fields in which what ran is certainly not what is written."""
    core = ("pipeline", "model_id", "scheduler", "steps", "accelerators")
    return [name for name in core if match.equal(read.fields[name], built.fields[name]) is False]


def read_models(path: str | None) -> dict[str, str]:
    """Return the map of model ids to places in a YAML file.

    A place is a folder (a relative one starts at the file's own folder) or a source of the
    catalogue, ``built:sd15``.

    Raises:
        ConfigurationError: the file cannot be read or is no such map, or a folder does not exist.
    """
    if path is None:
        return {}
    import yaml

    try:
        content = yaml.safe_load(source.decode(source.read_source(path)))
    except source.SourceError as error:
        raise ConfigurationError(f"--models: {path} {error}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigurationError(f"--models: {path} is not YAML") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"--models: {path} must map model ids to folders")
    models: dict[str, str] = {}
    for name, place in content.items():
        if not isinstance(name, str) or not isinstance(place, str):
            raise ConfigurationError(f"--models: {path}: {name!r} must map to a folder's name")
        models[name] = _place(path, name, place)
    return models


def _place(path: str, name: str, place: str) -> str:
    if place.startswith(("built:", "package:")):
        return place
    folder = (Path(path).parent / Path(place).expanduser()).resolve()
    if folder.is_dir():
        return str(folder)
    near = difflib.get_close_matches(folder.name, _names_beside(folder), 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ConfigurationError(f"--models: {path}: {name}: the folder {folder} does not exist{hint}")


def _names_beside(folder: Path) -> list[str]:
    try:
        return os.listdir(folder.parent)
    except OSError:
        return []


def fetch(findings: Findings, models: Mapping[str, str]) -> None:
    """Fetch the model that a file names, if it is a hub id that is not here yet.

    The program itself runs without a network. A model that the hub does not have is its own fault.

    Raises:
        TryAgainLaterError: the model is not here, and the hub cannot be reached.
    """
    model_id = findings.fields["model_id"]
    if not isinstance(model_id, str) or model_id in models or os.path.exists(model_id):
        return
    if model_id.count("/") != 1 or model_id.startswith((".", "/", "~")):
        return
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    wanted = ["*.json", "*.txt", "*/*.safetensors"]
    try:
        snapshot_download(model_id, allow_patterns=wanted, ignore_patterns=["*non_ema*"])
    except (HfHubHTTPError, HFValidationError):
        return
    except (OSError, ValueError) as error:
        raise TryAgainLaterError(
            f"the model {model_id} is not in the local cache and the hub could not be reached; try "
            "again, or map it to a local folder with --models"
        ) from error
