"""Stands for the package ``tgate`` while a program is judged.

The package replaces a pipeline's whole call and never takes its patches off again. Here its loaders
only give the pipeline a ``tgate`` method of the same parameters and defaults, which tells the harness
that the call goes through T-GATE.
"""

from __future__ import annotations

import inspect
from types import MethodType
from typing import Any


def _load(pipe: Any, loader: str) -> Any:  # a pipeline
    # here, not above: the judged program sees this module's names
    from worker.accelerators.tgate import CALLED, PACKAGE, UNDER_WAY, described

    defaults = PACKAGE.defaults_of(loader)

    def tgate(self: Any, *args: Any, **given: Any) -> Any:  # as the pipeline's call
        parameters = {name: given.pop(name, default) for name, default in defaults.items()}
        if "num_inference_steps" not in given and "inference_step" in given:
            given["num_inference_steps"] = given["inference_step"]
        takes = inspect.signature(type(self).__call__).parameters
        # The package's own methods swallow every other keyword.
        given = {name: value for name, value in given.items() if name in takes}
        setattr(self, UNDER_WAY, described(parameters))
        try:
            return self(*args, **given)
        finally:
            delattr(self, UNDER_WAY)
            setattr(self, CALLED, True)

    pipe.tgate = MethodType(tgate, pipe)
    return pipe


def TgateSDLoader(pipe: Any, **kwargs: Any) -> Any:  # noqa: N802  # the package's name
    """Give a Stable Diffusion pipeline its ``tgate`` method; the keywords are ignored."""
    return _load(pipe, "TgateSDLoader")


TgatePixArtLoader = TgatePixArtAlphaLoader = TgatePixArtSigmaLoader = TgateSDLoader


def TgateSDXLLoader(pipe: Any, **kwargs: Any) -> Any:  # noqa: N802  # the package's name
    """Give a Stable Diffusion XL pipeline its ``tgate`` method; the keywords are ignored."""
    return _load(pipe, "TgateSDXLLoader")


def TgateSDDeepCacheLoader(  # noqa: N802  # the package's name
    pipe: Any,
    cache_interval: int = 3,
    cache_branch_id: int = 0,
) -> Any:
    """Enable DeepCache on a Stable Diffusion pipeline and give it its ``tgate`` method."""
    from DeepCache import DeepCacheSDHelper

    helper = DeepCacheSDHelper(pipe=pipe)
    helper.set_params(cache_interval=cache_interval, cache_branch_id=cache_branch_id)
    helper.enable()
    pipe.deepcache = helper
    return _load(pipe, "TgateSDDeepCacheLoader")


TgateSDXLDeepCacheLoader = TgateSDDeepCacheLoader
