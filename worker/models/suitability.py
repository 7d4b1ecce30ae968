"""Whether a model is the one that a pipe stands for, told by its parts' configurations. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from worker.errors import ConfigurationError, first_line
from worker.models.catalogue import Sched
from worker.models.families.base import Architecture, Config, Family, Pipe
from worker.models.families.registry import family_of
from worker.models.folder import SCHEDULER, ModelFolder, read_json
from worker.models.sources import local_source, names_folder, refuse_no_hub_id


def check_folder(
    path: Path, pipe: Pipe, sched: Sched | None, *, image_size: int | None, half: bool
) -> str | None:
    """Refuse a folder that cannot be measured as the pipe, by its JSON files and its files' sizes.

    Args:
        path: the folder.
        pipe: what it is to be.
        sched: the noise scheduler that takes the place of the model's own; None: not asked.
        image_size: pixels that were chosen for its images; None: the pipe's own.
        half: whether it is to compute in half precision.

    Returns:
        The variant of the weights to load; None for the plain ones.

    Raises:
        ConfigurationError: it is no such model, or not the whole of one.
    """
    try:
        folder, family = ModelFolder(path), family_of(pipe.architecture)
        needed = (*family.weighty, *family.tokenizers, SCHEDULER)
        missing = [part for part in needed if not folder.has(part)]
        if missing:
            kind = folder.pipeline_class
            what = "" if kind == family.pipeline_class else f" (it is a {kind})"
            raise ConfigurationError(
                f"{path} is no {pipe.name}: it lacks {', '.join(missing)}{what}; name the pipe that it "
                "is, or another model"
            )
        for part, kind in family.kinds.items():
            found = folder.class_of(part)
            if part in needed and found is not None and not found.startswith(kind):
                raise ConfigurationError(
                    f"{path} is no {pipe.name}: its {part} is a {found}, and {pipe.name}'s is a "
                    f"{kind}; name another model"
                )
        check_configs(folder.configs(family.weighty), pipe, str(path), image_size)
        if sched is None:
            folder.configs([SCHEDULER])
        else:
            refused = _refusal(folder, sched)
            if refused is not None:
                raise ConfigurationError(f"{path}: {refused}")
        variant = folder.variant(family.weighty, half)
        folder.check_weights(family.weighty, variant)
        folder.check_tokenizers(family.tokenizers)
    except OSError as error:
        raise ConfigurationError(f"{error.filename} cannot be read: {error.strerror}") from error
    return variant


def check_source(pipe: Pipe, sched: Sched | None, source: str, image_size: int | None) -> None:
    """Refuse a source of a pipe's model by all that can be told without loading it.

    Of a folder that is everything (``check_folder``); of the rest, whether it could be a hub id.

    Raises:
        ConfigurationError: it cannot be measured as the pipe.
    """
    if names_folder(source):
        check_folder(Path(source).expanduser(), pipe, sched, image_size=image_size, half=False)
    elif not source.startswith(("built:", "package:")):
        refuse_no_hub_id(source)


def architecture_of_source(family: Family, source: str) -> Architecture:
    """Return the architecture of a model that has no pipe, by its denoiser's configuration.

    Args:
        family: of its pipeline.
        source: a folder, or the id of what lies in the hub's cache.

    Raises:
        ConfigurationError: its denoiser is not told, or accelerators cannot be placed in it.
    """
    config = denoiser_config(family, local_source(source))
    if config is None:
        raise ConfigurationError(
            f"the hub's cache has no {family.denoiser}/config.json of {source}, by which its "
            f"{family.denoiser_title} is known"
        )
    try:
        return family.architecture_of(config)
    except (TypeError, LookupError, AttributeError) as error:
        raise ConfigurationError(
            f"the {family.denoiser_title} of {source} has a config.json with a value that none has "
            f"({first_line(error)}); write it again with save_pretrained"
        ) from error
    except ValueError as error:
        raise ConfigurationError(f"the {family.denoiser_title} of {source} {error}") from error


def denoiser_config(family: Family, place: str) -> Config | None:
    """Return the configuration of a model's denoiser, as the files here tell it.

    Args:
        family: of its pipeline.
        place: a folder, or a hub id, of which the hub's cache is looked at.

    Returns:
        None where the hub's cache does not have it.

    Raises:
        ConfigurationError: the file is missing in the folder, or broken.
    """
    if names_folder(place):
        return ModelFolder(Path(place).expanduser()).configs([family.denoiser])[family.denoiser]
    from huggingface_hub import try_to_load_from_cache

    file = try_to_load_from_cache(place, f"{family.denoiser}/config.json")
    return read_json(Path(file)) if isinstance(file, str) else None


def sched_refusal(source: str, sched: Sched) -> str | None:
    """Return why a noise scheduler does not suit the model in a folder, or None.

    None as well for a hub id, which has to be loaded, and for a folder that is not a model's.
    """
    if not names_folder(source):
        return None
    try:
        folder = ModelFolder(Path(source).expanduser())
        return _refusal(folder, sched)
    except (ConfigurationError, OSError):
        return None


def _refusal(folder: ModelFolder, sched: Sched) -> str | None:
    """Return why a noise scheduler does not suit a folder's model, or None.

    Both files that name the class of the model's own are looked at: diffusers reads either.
    """
    config = folder.configs([SCHEDULER])[SCHEDULER]
    kinds = dict.fromkeys((config.get("_class_name"), folder.class_of(SCHEDULER)))
    reasons = (sched.refusal(config | {"_class_name": kind}) for kind in kinds)
    return next((reason for reason in reasons if reason is not None), None)


def check_configs(
    configs: Mapping[str, Config], pipe: Pipe, source: str, image_size: int | None
) -> None:
    """Refuse a model that would fail in its first call, or be measured as what it is not.

    Args:
        configs: of its parts.
        pipe: what it is to be.
        source: where it comes from, in messages.
        image_size: pixels that were chosen for its images; None: the pipe's own.

    Raises:
        ConfigurationError: it is of another kind, of another shape, or made for another size.
    """
    try:
        _check_configs(configs, pipe, source, image_size)
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise ConfigurationError(
            f"{source} is no {pipe.name}: a config.json of its parts holds a value that none has "
            f"({first_line(error)}); write it again with save_pretrained"
        ) from error


def _check_configs(
    configs: Mapping[str, Config], pipe: Pipe, source: str, image_size: int | None
) -> None:
    family = family_of(pipe.architecture)
    kind = family.another_kind(configs)
    if kind is not None:
        raise ConfigurationError(f"{source} is no {pipe.name}: {kind}; name another model")
    expected = family.expected_shape(pipe.architecture)
    found = family.found_shape(configs[family.denoiser])
    if found != expected:
        raise ConfigurationError(
            f"{source} is no {pipe.name}: its {family.denoiser_title} has {found}, and "
            f"{pipe.name}'s has {expected}; name the pipe that it is, or another model"
        )
    _check_size(family, configs, pipe, source, image_size)


def _check_size(
    family: Family,
    configs: Mapping[str, Config],
    pipe: Pipe,
    source: str,
    image_size: int | None,
) -> None:
    own = family.own_size(configs)
    if image_size is None and own is not None and own != pipe.image_size:
        raise ConfigurationError(
            f"{source} is made for images of {own} pixels, and {pipe.name} is measured at "
            f"{pipe.image_size}: set search.image_size to {own}, or to {pipe.image_size} if that is "
            "meant"
        )
