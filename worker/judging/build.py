"""Build what a program builds, apart from the judge, and read its description back."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker.config.yaml_file import read_mapping
from worker.errors import ConfigurationError, TryAgainLaterError
from worker.judging import field_diff, source
from worker.judging.fields import CALL_FIELDS, FIELDS, NO_PIPELINE, NOT_CALLED, Findings
from worker.judging.reasons.codes import Reason, Why
from worker.judging.sandbox import sandbox, schema
from worker.judging.static.objects import AbstractDict, AbstractList
from worker.judging.static.values import Unknown, Value
from worker.judging.tamper_check import way_to_harness
from worker.models.sources import local_source, prefer_cache_without_network

_MAX_TEXT = 20_000


@dataclass(frozen=True)
class Built:
    """What came of running a program.

    Attributes:
        findings: the fields, as the static reading names them; unknown where it built nothing.
        description: see ``schema.py``; None where it built nothing.
        problem: why it did not run through; None if it did.
        confined: what it was kept from.
        output: the first and last of what it printed.
    """

    findings: Findings
    description: dict[str, Any] | None
    problem: Reason | None
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
    if outcome.tampered:
        return _nothing(outcome, Why.TAMPERED())
    described = [frame for frame in outcome.frames if frame.kind in ("call", "built")]
    endings = [frame for frame in outcome.frames if frame.kind == "end"]
    try:
        told = schema.read(described[-1].kind, described[-1].content) if described else None
        error = schema.read("end", endings[0].content)["error"] if endings else None
    except ValueError as wrong:
        return _nothing(outcome, Why.UNREADABLE_DESCRIPTION(error=str(wrong)))
    problem = _problem(outcome, error)
    if told is None:
        return _nothing(outcome, problem or Why.BUILDS_NO_PIPELINE())
    return Built(_findings(told["fields"]), told, problem, outcome.confined, outcome.output)


def _nothing(outcome: sandbox.Outcome, problem: Reason) -> Built:
    findings = Findings(dict.fromkeys(FIELDS, Unknown(Why.NOTHING_BUILT())))
    return Built(findings, None, problem, outcome.confined, outcome.output)


def _problem(outcome: sandbox.Outcome, error: str | None) -> Reason | None:
    if outcome.ended != "ended":
        return outcome.reason
    if error is not None:
        return Why.PROGRAM_FAILS(error=error)
    return None if outcome.code == 0 else outcome.reason


def _findings(told: Mapping[str, Any]) -> Findings:
    missing = {name: NOT_CALLED if name in CALL_FIELDS else None for name in FIELDS}
    return Findings({name: _value(told.get(name, missing[name])) for name in FIELDS})


def _value(told: Any) -> Value:  # what a description's field may hold
    if isinstance(told, dict):
        return AbstractDict({key: _value(item) for key, item in told.items()})
    if isinstance(told, list):
        return AbstractList.of(tuple(_value(item) for item in told))
    return told[:_MAX_TEXT] if isinstance(told, str) else told


@dataclass(frozen=True)
class Backing:
    """How far a program's text bears out what the program described.

    Attributes:
        contradicted: core fields in which what ran is certainly not what is written.
        untold: core fields that the text does not tell: the description alone does.
        way: how the program could have changed its description, None if its text shows no way.
    """

    contradicted: list[str]
    untold: list[str]
    way: Reason | None

    @property
    def problem(self) -> Reason | None:
        """That the program is not what is written, if so."""
        if not self.contradicted:
            return None
        return Why.NOT_AS_WRITTEN(fields=", ".join(self.contradicted))

    @property
    def suffices(self) -> bool:
        """Whether a match may be called one."""
        return not self.untold or self.way is None

    @property
    def caveat(self) -> Reason | None:
        """What is known by the program's own word alone, None if nothing is."""
        if not self.untold:
            return None
        fields = ", ".join(self.untold)
        if self.way is None:
            return Why.OWN_DESCRIPTION(fields=fields)
        return Why.CHANGEABLE_DESCRIPTION(self.way, fields=fields)


def backing(program: bytes, read: Findings, built: Findings) -> Backing:
    """Compare what a program described with its text.

    Harness and program share a process, so that a description is worth what else bears it out.

    Args:
        program: the file's bytes, which parse.
        read: what its text tells.
        built: what it described.
    """
    core = ("pipeline", "model_id", "scheduler", "steps", "accelerators")
    # That a text shows no pipeline says nothing against one that was built: it may be out of sight.
    same = {
        name: None
        if read.fields[name] in (NO_PIPELINE, NOT_CALLED)
        else field_diff.equal(read.fields[name], built.fields[name])
        for name in core
    }
    return Backing(
        [name for name in core if same[name] is False],
        [name for name in core if same[name] is None],
        way_to_harness(source.parse(program)),
    )


def read_models(path: str | None) -> dict[str, str]:
    """Return the map of model ids to places in a YAML file.

    A place is a folder (a relative one starts at the file's own folder) or a source of the
    catalogue, ``built:sd15``.

    Raises:
        ConfigurationError: the file cannot be read or is no such map, or a folder does not exist.
    """
    if path is None:
        return {}
    try:
        data = source.read_source(path)
    except source.SourceError as error:
        raise ConfigurationError(f"--models: {path} {error}") from error
    content = read_mapping(data, f"--models: {path}", "model ids with their folders")
    models: dict[str, str] = {}
    for name, place in content.items():
        if not isinstance(place, str):
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

    prefer_cache_without_network()
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
