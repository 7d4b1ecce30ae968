"""Write diffusers.json anew: the signatures of an installed diffusers, read from its text.

    python -m worker.judging.facts.read_diffusers

Nothing of diffusers is imported: its classes are parsed, so that this takes seconds and no torch.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

_OPTIONAL = "_optional_components"
HERE = Path(__file__).parent
# Folders of diffusers/pipelines whose pipelines make images, beside which no sweep stands.
FAMILIES = (
    *("aura_flow", "chroma", "controlnet", "controlnet_sd3", "flux", "hunyuandit", "kandinsky2_2"),
    *("kandinsky3", "kolors", "latent_consistency_models", "lumina", "pag", "pixart_alpha"),
    *("qwenimage", "sana", "stable_cascade", "stable_diffusion", "stable_diffusion_3"),
    *("stable_diffusion_xl", "t2i_adapter", "z_image"),
)
# Classes of values that are made from plain arguments and handed to a pipeline or a model.
VALUES = ("Config", "Callback", "Guidance")
# Whose methods every pipeline, or model, of the Stable Diffusion families has.
PIPELINE_CLASSES = (
    *("DiffusionPipeline", "StableDiffusionMixin", "LoraBaseMixin", "IPAdapterMixin"),
    *("StableDiffusionLoraLoaderMixin", "TextualInversionLoaderMixin"),
)
MODEL_CLASSES = (
    *("ModelMixin", "AttentionMixin", "CacheMixin", "PeftAdapterMixin", "UNet2DConditionModel"),
    "AutoencoderKL",
)


def read(root: Path, families: Iterable[str] = FAMILIES) -> dict[str, Any]:
    """Return what diffusers.json holds.

    Args:
        root: the package's folder.
        families: the folders of ``pipelines`` to read.
    """
    folders = [f"pipelines/{family}" for family in families]
    pipelines = dict(_classes(root, [*folders, "pipelines/pipeline_utils.py"]))
    schedulers = dict(_classes(root, ["schedulers"]))
    values = dict(_classes(root, ["hooks", "callbacks.py", "quantizers", "guiders"]))
    of_pipelines = dict(_classes(root, ["loaders", "pipelines/pipeline_utils.py"]))
    of_models = dict(_classes(root, ["loaders/peft.py", "models"]))
    return {
        "pipelines": {
            name: {
                "bases": [
                    base for item in node.bases if (base := getattr(item, "id", "")) in pipelines
                ],
                "parts": _parts(node, pipelines),
                "call": _parameters(method),
            }
            for name, node in sorted(pipelines.items())
            if name.endswith("Pipeline")
            and "Onnx" not in name
            and (method := _method(node, "__call__", pipelines)) is not None
        },
        "schedulers": {
            name: _parameters(method)
            for name, node in sorted(schedulers.items())
            if name.endswith("Scheduler")
            and (method := _method(node, "__init__", schedulers)) is not None
        },
        "values": {
            name: _fields(node, values)
            for name, node in sorted(values.items())
            if name.endswith(VALUES) and not name.startswith("_")
        },
        "pipeline methods": _methods(of_pipelines, PIPELINE_CLASSES),
        "model methods": _methods(of_models, MODEL_CLASSES),
    }


def _classes(root: Path, places: Iterable[str]) -> Iterator[tuple[str, ast.ClassDef]]:
    for place in places:
        path = root / place
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            for node in ast.parse(file.read_text()).body:
                if isinstance(node, ast.ClassDef):
                    yield node.name, node


def _method(
    node: ast.ClassDef, name: str, known: dict[str, ast.ClassDef]
) -> ast.FunctionDef | None:
    """Return a class's method, its own or that of the first base that is known to have one."""
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == name:
            return item
    for base in node.bases:
        inherited = known.get(getattr(base, "id", ""))
        found = _method(inherited, name, known) if inherited is not None else None
        if found is not None:
            return found
    return None


def _parameters(function: ast.FunctionDef) -> dict[str, Any]:
    """Return a signature's parameters in order: [default], or [] where there is no plain one."""
    spec = function.args
    names = [item.arg for item in [*spec.posonlyargs, *spec.args]][1:]
    defaults: list[ast.expr | None] = [None] * (len(names) - len(spec.defaults))
    found = dict(zip(names, [*defaults, *spec.defaults], strict=True))
    found |= {
        item.arg: default for item, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True)
    }
    plain: dict[str, Any] = {name: _plain(default) for name, default in found.items()}
    return plain | ({"**": []} if spec.kwarg else {})


def _plain(default: ast.expr | None) -> list[Any]:
    if default is None:
        return []
    try:
        value = ast.literal_eval(default)
    except ValueError:
        return []
    return [value]


def _parts(node: ast.ClassDef, known: dict[str, ast.ClassDef]) -> list[str]:
    """Return the models that a pipeline is made of, told from options as DiffusionPipeline does."""
    init = _method(node, "__init__", known)
    parameters = {} if init is None else _parameters(init)
    optional = _optional_parts(node, known)
    return [name for name, default in parameters.items() if not default or name in optional]


def _optional_parts(node: ast.ClassDef, known: dict[str, ast.ClassDef]) -> list[str]:
    for item in node.body:
        if isinstance(item, ast.Assign) and getattr(item.targets[0], "id", "") == _OPTIONAL:
            return list(ast.literal_eval(item.value))
    bases = [known[name] for base in node.bases if (name := getattr(base, "id", "")) in known]
    return _optional_parts(bases[0], known) if bases else []


def _fields(node: ast.ClassDef, known: dict[str, ast.ClassDef]) -> dict[str, Any]:
    """Return the parameters of a class that is made from plain values, a data class's fields too."""
    method = _method(node, "__init__", known)
    if method is not None:
        return _parameters(method)
    return {
        item.target.id: _plain(item.value)
        for item in node.body
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    }


def _methods(known: dict[str, ast.ClassDef], names: Iterable[str]) -> dict[str, Any]:
    """Return the signatures of the public methods of some classes; the last one's counts."""
    return {
        item.name: _parameters(item)
        for name in names
        for item in known[name].body
        if isinstance(item, ast.FunctionDef) and not item.name.startswith("_")
    }


def main() -> None:
    spec = importlib.util.find_spec("diffusers")
    assert spec is not None
    assert spec.origin is not None
    found = {"version": importlib.metadata.version("diffusers"), **read(Path(spec.origin).parent)}
    lines = [f"{json.dumps(key)}: {_lines(value)}" for key, value in found.items()]
    (HERE / "diffusers.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _lines(value: Any) -> str:
    """Return JSON with one line for each entry, so that a new version's changes can be read."""
    if not isinstance(value, dict):
        return json.dumps(value)
    inner = [f"  {json.dumps(key)}: {json.dumps(entry)}" for key, entry in value.items()]
    return "{\n" + ",\n".join(inner) + "\n}"


if __name__ == "__main__":
    main()
