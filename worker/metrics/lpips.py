"""LPIPS: how far apart two images are to a network's eye (Zhang et al. 2018), by torchmetrics.

Its weights are published as pickle files, which are not loaded here. Whoever trusts them makes a
safetensors file once, on a machine with a network::

    from safetensors.torch import save_model
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    save_model(LearnedPerceptualImagePatchSimilarity("alex").net, "lpips-alex.safetensors")
"""

from __future__ import annotations

from worker.metrics.weights import load_weights
from worker.types import Tensor


class Lpips:
    """LPIPS with AlexNet's features.

    Args:
        weights: the ``.safetensors`` file.
        device: a torch device.

    Raises:
        ConfigurationError: the file is not there or holds something else.
    """

    def __init__(self, weights: str, device: str) -> None:
        from torchmetrics.functional.image.lpips import _LPIPS

        self._network = _LPIPS(pretrained=False, net="alex", pnet_rand=True)
        load_weights(self._network, weights, metric="lpips", name="LPIPS with AlexNet")
        self._network.to(device).eval()

    def distance(self, images: Tensor, references: Tensor) -> list[float]:
        """Return the distance of each pair, 0 for equal images.

        Args:
            images: a tensor of shape [n, 3, height, width], values from 0 to 1.
            references: the same shape.
        """
        import torch

        with torch.inference_mode():
            distances: list[float] = (
                self._network(images.float(), references.float(), normalize=True).flatten().tolist()
            )
            return distances
