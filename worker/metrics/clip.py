"""CLIP score: how well an image fits its caption, by an open_clip model.

The score is 100 times the cosine between the two embeddings (Hessel et al., "CLIPScore", 2021, with
the weight 1 instead of 2.5 that the acceleration papers use).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from worker.errors import ConfigurationError, TryAgainLaterError, first_line, is_out_of_memory
from worker.models.ahead import files_below, keep, taken_or
from worker.models.sources import local_source, prefer_cache_without_network, was_unreachable
from worker.models.transfer import make_resident, to_device
from worker.types import Module, Tensor

_KIND = "scorer"


class ClipScorer:
    """A CLIP model on a device.

    Args:
        model: a model that open_clip knows, ``local-dir:FOLDER``, or a source of the catalogue.
        pretrained: its weights: a tag that open_clip knows, a ``.safetensors`` file, or None, which
            draws them at random, right on the device.
        device: a torch device.

    Raises:
        ConfigurationError: open_clip knows no such model or weights.
        TryAgainLaterError: the weights cannot be fetched.
    """

    def __init__(self, model: str, pretrained: str | None, device: str) -> None:
        import open_clip
        import torch

        name = _open_clip_name(model)
        _check_names(name, pretrained)
        if pretrained is None:
            with torch.device(device):
                self._model = _create(model, pretrained, device)
        else:
            key = _key(name, pretrained)
            self._model = taken_or(_KIND, key, lambda: _create(model, pretrained, device))
            to_device([self._model], device)
        self._model.eval()
        self._tokenize = open_clip.get_tokenizer(name)
        self._device = device
        visual = self._model.visual
        size = visual.image_size
        self._size = (size, size) if isinstance(size, int) else tuple(size)
        self._mean, self._std = (
            torch.tensor(values or default, device=device).view(1, 3, 1, 1)
            for values, default in (
                (visual.image_mean, open_clip.OPENAI_DATASET_MEAN),
                (visual.image_std, open_clip.OPENAI_DATASET_STD),
            )
        )

    def encode(self, captions: Sequence[str], batch: int = 64) -> Tensor:
        """Return one unit vector for each caption: a tensor of shape [captions, width]."""
        import torch

        with torch.inference_mode():
            parts = [
                self._model.encode_text(
                    self._tokenize(list(captions[first : first + batch])).to(self._device),
                    normalize=True,
                )
                for first in range(0, len(captions), batch)
            ]
            return torch.cat(parts)

    def embed(self, images: Tensor) -> Tensor:
        """Return one unit vector for each image: a tensor of shape [n, width].

        Args:
            images: a tensor of shape [n, 3, height, width], values from 0 to 1.
        """
        import torch
        from torch.nn.functional import interpolate

        with torch.inference_mode(), _fast_matmul(self._device):
            # on the device: through PIL this would cost more than a small pipeline's own step
            pixels = interpolate(
                images.to(self._device, torch.float32),
                size=self._size,
                mode="bicubic",
                antialias=True,
            ).clamp(0, 1)
            return self._model.encode_image((pixels - self._mean) / self._std, normalize=True)


def load_ahead(model: str, pretrained: str) -> None:
    """Load a CLIP model into host memory, for ``ClipScorer`` to take; no GPU is touched.

    Raises:
        ConfigurationError, TryAgainLaterError: as there.
    """
    name = _open_clip_name(model)
    _check_names(name, pretrained)
    key, loaded = _key(name, pretrained), _create(model, pretrained, "cpu")
    make_resident([loaded])
    keep(_KIND, key, loaded)


def _key(name: str, pretrained: str) -> tuple[object, ...]:
    """Return everything that a model in host memory depends on."""
    return (name, pretrained, files_below(name.partition(":")[2] or pretrained))


def _create(model: str, pretrained: str | None, device: str) -> Module:
    """Return open_clip's model on a device.

    Raises:
        ConfigurationError: it cannot be loaded.
        TryAgainLaterError: the weights cannot be fetched.
    """
    import open_clip
    from safetensors import SafetensorError

    name = _open_clip_name(model)
    if pretrained and not pretrained.endswith(".safetensors"):
        _fetch(name, pretrained)
    try:
        return open_clip.create_model(name, pretrained or None, device=device, weights_only=True)
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, SafetensorError) as error:
        if is_out_of_memory(error):
            raise
        raise ConfigurationError(
            f"search.clip: {model} {pretrained or ''} cannot be loaded: {first_line(error)}"
        ) from error


def scores(images: Tensor, captions: Tensor) -> list[float]:
    """Return the score of each image against its caption.

    Args:
        images: what ``embed`` gave for them, shape [n, width].
        captions: what ``encode`` gave for them, the same shape.
    """
    values: list[float] = (100 * (images * captions).sum(dim=-1)).tolist()
    return values


@contextmanager
def _fast_matmul(device: str) -> Iterator[None]:
    """Let a GPU multiply in TF32, which keeps ten bits of a factor: so do half-precision images.

    In full single precision a large CLIP would take as long as several steps of a small pipeline.
    """
    import torch

    if not device.startswith("cuda"):
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _open_clip_name(model: str) -> str:
    """Return what open_clip calls the model; a source of the catalogue becomes a local folder."""
    if model.startswith(("built:", "package:")):
        return f"local-dir:{local_source(model)}"
    return model


def _check_names(name: str, pretrained: str | None) -> None:
    import open_clip

    scheme, _, folder = name.partition(":")
    if scheme == "local-dir":
        if not any(Path(folder).glob("*.safetensors")):
            raise ConfigurationError(f"search.clip.model: {folder} holds no .safetensors file")
        return
    if name not in open_clip.list_models():
        raise ConfigurationError(
            f"search.clip.model: open_clip knows no model {name!r}; see open_clip.list_models()"
        )
    if pretrained is None:
        return
    if pretrained.endswith(".safetensors"):
        if not Path(pretrained).is_file():
            raise ConfigurationError(f"search.clip.pretrained: {pretrained} does not exist")
    elif pretrained not in open_clip.list_pretrained_tags_by_model(name):
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
        raise ConfigurationError(
            f"search.clip.pretrained: {name} has no weights {pretrained!r}; known: {tags}, or a "
            ".safetensors file"
        )


def _fetch(name: str, tag: str) -> None:
    """Have the weights as safetensors in the hub's cache, where open_clip prefers them.

    By itself open_clip falls back on a pickle file where it finds no other.
    """
    import open_clip
    from huggingface_hub import hf_hub_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    prefer_cache_without_network()
    repository, file = open_clip.get_pretrained_cfg(name, tag)["hf_hub"].rsplit("/", 1)
    wanted = f"{Path(file).stem}.safetensors" if file else "open_clip_model.safetensors"
    remedy = "set search.clip to another model or a local .safetensors file"
    try:
        hf_hub_download(repository, wanted)
    except (OSError, ValueError) as error:
        if was_unreachable(error):
            raise TryAgainLaterError(
                f"the CLIP weights {name} {tag} are not in the local cache and the hub could not "
                f"be reached; try again, or {remedy}"
            ) from error
        raise ConfigurationError(
            f"search.clip: {repository} offers no {wanted}; {remedy}"
        ) from error
