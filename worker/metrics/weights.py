"""Weights of a metric's network, from a safetensors file that the user made."""

from __future__ import annotations

from pathlib import Path

from worker.errors import ConfigurationError
from worker.types import Module


def load_weights(network: Module, file: str, metric: str, name: str) -> None:
    """Fill a network with the weights in a file.

    Args:
        network: a torch module with exactly the tensors that the file should hold.
        file: the ``.safetensors`` file.
        metric: the metric's module in worker/metrics, also the search section's key of the file.
        name: the network, for the error's sentence.

    Raises:
        ConfigurationError: the file is not there or holds something else.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    if not Path(file).is_file():
        raise ConfigurationError(f"search.{metric}: {file} does not exist")
    try:
        load_model(network, file)
    except (SafetensorError, RuntimeError) as error:
        raise ConfigurationError(
            f"search.{metric}: {file} does not hold {name}; see worker/metrics/{metric}.py for how "
            "to make it"
        ) from error
