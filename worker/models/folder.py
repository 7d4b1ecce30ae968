"""A model's folder in diffusers' layout, read without torch: what it is, and whether it is whole."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from worker.config.bounded import open_regular, read_regular
from worker.errors import ConfigurationError
from worker.models.families.base import Config

# half-precision copies of the same weights; others (`non_ema`) are other weights
HALF_PRECISION = ("fp16", "bf16")
_WEIGHTS = re.compile(
    r"(?:diffusion_pytorch_model|model)(?:\.(?P<variant>\w+))?(?:-\d{5}-of-\d{5})?"
    r"(?:\.(?P<old_variant>\w+))?\.safetensors"
)
_TOKENIZER_FILES = ("vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json")
_OTHER_FORMATS = (".bin", ".ckpt", ".pt", ".pth", ".msgpack", ".h5", ".onnx")
_POINTER = b"version https://git-lfs.github.com/spec/"
# the format's own limit
_LONGEST_HEADER = 100_000_000
SCHEDULER = "scheduler"
_SAVED = "give the folder that save_pretrained wrote"


class ModelFolder:
    """A pipeline's folder, as ``save_pretrained`` writes it.

    Raises:
        ConfigurationError: there is no such folder, or it is something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # by os.path, which a name too long for a file's does not trouble
        if os.path.isfile(path):
            raise ConfigurationError(
                f"{path} is a single file, and models are loaded from folders in diffusers' layout: "
                "load it with the pipeline's from_single_file and write one with save_pretrained"
            )
        if not os.path.isdir(path):
            raise ConfigurationError(f"the model folder {path} does not exist")
        if not (path / "model_index.json").is_file():
            raise ConfigurationError(_not_a_pipeline(path))
        self._index = read_json(path / "model_index.json")

    @property
    def pipeline_class(self) -> str:
        """The class in diffusers that the folder was saved from."""
        return str(self._index.get("_class_name", "pipeline"))

    def has(self, part: str) -> bool:
        """Say whether the pipeline was saved with that part."""
        listed = self._index.get(part)
        left_out = isinstance(listed, Sequence) and not any(listed)
        return not left_out and (self.path / part).is_dir()

    def class_of(self, part: str) -> str | None:
        """Return the class that a part is loaded as; None: the index does not tell."""
        listed = self._index.get(part)
        if isinstance(listed, list) and len(listed) == 2 and isinstance(listed[1], str):
            return listed[1]
        return None

    def configs(self, parts: Sequence[str]) -> dict[str, Config]:
        """Return the configuration of each of these parts.

        Raises:
            ConfigurationError: one is missing, or not JSON.
        """
        names = dict.fromkeys(parts, "config.json") | {SCHEDULER: "scheduler_config.json"}
        return {part: read_json(self.path / part / names[part]) for part in parts}

    def variant(self, parts: Sequence[str], half: bool) -> str | None:
        """Return which weights to load: half-precision copies, or None for the plain ones.

        Where a folder has copies of one precision only, they are it, whatever is computed in.

        Args:
            parts: those with weights.
            half: whether the pipeline computes in half precision.

        Raises:
            ConfigurationError: a part has no weights that can be loaded, or the parts have not the
                same ones.
        """
        found = {part: self._variants(part) for part in parts}
        for part, variants in found.items():
            if not variants.keys() & {None, *HALF_PRECISION}:
                raise ConfigurationError(self._no_weights(part, variants))
        order = ("fp16", None, "bf16") if half else (None, *HALF_PRECISION)
        for variant in order:
            # a part without the variant's files is loaded from its plain ones
            whole = all({None, variant} & variants.keys() for variants in found.values())
            if whole and any(variant in variants for variants in found.values()):
                return variant
        each = ", ".join(
            f"{part} {' and '.join(sorted(str(name) for name in variants if name))}"
            for part, variants in found.items()
            if None not in variants
        )
        raise ConfigurationError(
            f"{self.path} holds weights of different precisions alone ({each}): save it again with "
            "one variant for all parts"
        )

    def check_weights(self, parts: Sequence[str], variant: str | None) -> None:
        """Look at the files that would be loaded, from outside: are they weights, and whole?

        Raises:
            ConfigurationError: one is missing, a pointer to a file that was not fetched, or cut off.
        """
        for part in parts:
            files = self._files(part, variant)
            for file in files:
                read_header(file)
            for index in (self.path / part).glob("*.safetensors.index*.json"):
                names = set(read_json(index).get("weight_map", {}).values())
                if names & {file.name for file in files}:
                    missing = sorted(names - {file.name for file in files})
                    if missing:
                        raise ConfigurationError(
                            f"{self.path / part} lacks {missing[0]}, one of {len(names)} files that "
                            f"{index.name} lists: copy or download it again"
                        )

    def tensor_names(self, part: str, variant: str | None) -> set[str]:
        """Return the names of the tensors in the files that are loaded for a part."""
        return {name for file in self._files(part, variant) for name in read_header(file)}

    def check_tokenizers(self, parts: Iterable[str]) -> None:
        """Make sure that each has its words: without them transformers makes an empty one.

        Raises:
            ConfigurationError: one has none.
        """
        for part in parts:
            folder = self.path / part
            if not any((folder / name).is_file() for name in ("vocab.json", "tokenizer.json")):
                raise ConfigurationError(
                    f"{folder} holds neither vocab.json nor tokenizer.json; {_SAVED}"
                )
            for name in _TOKENIZER_FILES:
                if os.path.lexists(folder / name):
                    _refuse_pointer(folder / name, read_regular(folder / name))

    def _files(self, part: str, variant: str | None) -> list[Path]:
        """Return the files that are loaded for a part: of that variant, or the plain ones."""
        variants = self._variants(part)
        return variants.get(variant) or variants.get(None) or []

    def _variants(self, part: str) -> dict[str | None, list[Path]]:
        """Return the part's safetensors by variant, None for the plain ones."""
        found: dict[str | None, list[Path]] = {}
        for file in sorted((self.path / part).glob("*.safetensors")):
            named = _WEIGHTS.fullmatch(file.name)
            if named is not None:
                found.setdefault(named["variant"] or named["old_variant"], []).append(file)
        return found

    def _no_weights(self, part: str, variants: Mapping[str | None, object]) -> str:
        folder = self.path / part
        if variants:
            named = " and ".join(sorted(str(name) for name in variants))
            return (
                f"{folder} holds weights of the variant {named} alone, which are other weights: save "
                "the ones that are meant without a variant"
            )
        if any(file.suffix in _OTHER_FORMATS for file in folder.iterdir()):
            return (
                f"{folder} holds no .safetensors file, and other formats are not loaded; convert it "
                "with save_pretrained(..., safe_serialization=True)"
            )
        return f"{folder} holds no weights (no .safetensors file); copy or download them as well"


def read_header(file: Path) -> Mapping[str, Any]:
    """Return the header of a safetensors file, once the file is as long as it says.

    The format: the header's length as eight bytes, the least significant first; the header, JSON;
    then the tensors (https://github.com/huggingface/safetensors).

    Raises:
        ConfigurationError: it is no such file, or not the whole of one.
    """
    with os.fdopen(open_regular(file), "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        start = stream.read(8)
        _refuse_pointer(file, start + stream.read(len(_POINTER) - 8))
        stream.seek(8)
        length = int.from_bytes(start, "little")
        if size < 8 or length > _LONGEST_HEADER:
            raise ConfigurationError(f"{file} is no safetensors file; {_SAVED}")
        text = stream.read(length)
    try:
        header = json.loads(text) if len(text) == length else {}
        tensors = [item for name, item in header.items() if name != "__metadata__"]
        end = 8 + length + max((item["data_offsets"][1] for item in tensors), default=0)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise ConfigurationError(f"{file} is no safetensors file; {_SAVED}") from error
    if size < end or len(text) < length:
        raise ConfigurationError(
            f"{file} is cut off ({size} of {max(end, 8 + length)} bytes): copy or download it again"
        )
    found: Mapping[str, Any] = header
    return found


def _refuse_pointer(file: Path, start: bytes) -> None:
    """Refuse a file by its first bytes if it only stands for one that Git LFS has not fetched.

    Raises:
        ConfigurationError: it does.
    """
    if start.startswith(_POINTER):
        raise ConfigurationError(
            f"{file} is a Git LFS pointer in place of the file itself: fetch it with git lfs pull in "
            "that repository"
        )


def _not_a_pipeline(path: Path) -> str:
    """Return what a folder without a pipeline's index is instead."""
    snapshots = sorted(path.glob("snapshots/*/model_index.json"))
    if snapshots:
        return f"{path} is a hub's cache: give the folder in it, {snapshots[-1].parent}"
    if any(_loras(path)):
        return (
            f"{path} holds a LoRA, which is added to a model and is none: fuse it into its model "
            "(load_lora_weights, fuse_lora, save_pretrained) and give that folder"
        )
    if (path / "config.json").is_file():
        kind = read_json(path / "config.json").get("_class_name", "a model")
        return f"{path} holds one part alone ({kind}): give the folder of the whole pipeline"
    return f"{path} is not a pipeline's folder: it has no model_index.json; {_SAVED}"


def _loras(path: Path) -> Iterator[bool]:
    yield (path / "adapter_config.json").is_file()
    for file in sorted(path.glob("*.safetensors")):
        try:
            yield any("lora" in name for name in read_header(file))
        except (ConfigurationError, OSError):
            yield "lora" in file.name


def read_json(file: Path) -> dict[str, Any]:
    """Return the JSON object that a file of a model holds.

    Raises:
        ConfigurationError: it cannot be read, or holds none.
    """
    try:
        data = read_regular(file)
        _refuse_pointer(file, data)
        content = json.loads(data)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}; {_SAVED}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{file} is not JSON; {_SAVED}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{file} holds no JSON object; {_SAVED}")
    return content
