"""FID: how far apart two sets of images are to a network's eye (Heusel et al. 2017).

Here the other set is the baseline's images, made from the same prompts, so that it says how far a
configuration moves the whole distribution; it is no FID against photographs. The network is the
Inception that FID has always been computed with: torchvision's layers, except that three of its
pools leave the padding out and one takes the maximum.

Its weights are published as a pickle file, which is not loaded here. Whoever trusts it makes a
safetensors file once, on a machine with a network::

    import torch
    from safetensors.torch import save_file

    address = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
    address += "pt_inception-2015-12-05-6726825d.pth"
    state = torch.hub.load_state_dict_from_url(address, weights_only=True)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, "fid.safetensors")
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from worker.config.numbers import FEWEST_IMAGES_FOR_FID
from worker.metrics.weights import load_weights
from worker.types import Module, Tensor

_SIZE = 299
_CLASSES = 1008


class Fid:
    """FID's Inception network.

    Args:
        weights: the ``.safetensors`` file.
        device: a torch device.

    Raises:
        ConfigurationError: the file is not there or holds something else.
    """

    def __init__(self, weights: str, device: str) -> None:
        network = _inception()
        load_weights(network, weights, metric="fid", name="FID's Inception network")
        self._network = _features_of(network).to(device).eval()

    def features(self, images: Tensor) -> Tensor:
        """Return the features of each image: a tensor of shape [n, 2048] on the CPU.

        Args:
            images: a tensor of shape [n, 3, height, width], values from 0 to 1.
        """
        import torch
        from torch.nn.functional import interpolate

        with torch.inference_mode():
            pixels = interpolate(images.float(), size=(_SIZE, _SIZE), mode="bilinear")
            return self._network(2 * pixels - 1).flatten(1).cpu()


def distance(features: Sequence[Tensor], references: Sequence[Tensor]) -> float:
    """Return the distance between two sets, given the features of their batches.

    Args:
        features: of one set, batch by batch, each a tensor of shape [batch, width].
        references: of the other.

    Raises:
        ValueError: one of them has fewer than 2,048 images.
    """
    import torch
    from torchmetrics.image.fid import FrechetInceptionDistance

    sets = [torch.cat(list(batches)) for batches in (references, features)]
    fewest = min(len(images) for images in sets)
    if fewest < FEWEST_IMAGES_FOR_FID:
        raise ValueError(f"FID needs at least {FEWEST_IMAGES_FOR_FID:,} images, found {fewest:,}")
    computed: Module = torch.nn.Identity()
    computed.num_features = sets[0].shape[1]
    metric = FrechetInceptionDistance(feature=computed)
    for images, real in zip(sets, (True, False), strict=True):
        metric.update(images, real=real)
    return float(metric.compute())


def _inception() -> Module:
    from torchvision.models import inception_v3

    return inception_v3(weights=None, num_classes=_CLASSES, aux_logits=False, init_weights=False)


def _features_of(network: Module) -> Module:
    """Return what comes out before the classes, with the pools that FID's network has."""
    import torch

    class WithoutPadding(torch.nn.Module):
        """Turns torchvision's average over a padded field into one over what is in the image."""

        def forward(self, average: Tensor) -> Tensor:
            inside = torch.ones_like(average[:1, :1])
            return average / torch.nn.functional.avg_pool2d(inside, 3, stride=1, padding=1)

    blocks = ("5b", "5c", "5d", "6b", "6c", "6d", "6e", "7b")
    for name in blocks:
        block = getattr(network, f"Mixed_{name}")
        block.branch_pool = torch.nn.Sequential(WithoutPadding(), block.branch_pool)
    network.Mixed_7c.__class__ = _with_maximum()
    network.dropout = network.fc = torch.nn.Identity()
    return network


def _with_maximum() -> Any:
    """Return torchvision's last block, except that its pool takes the maximum."""
    import torch
    from torch.nn.functional import max_pool2d
    from torchvision.models.inception import InceptionE

    class WithMaximum(InceptionE):  # type: ignore[misc]  # without useful types
        def _forward(self, x: Tensor) -> list[Tensor]:
            wide = self.branch3x3_1(x)
            deep = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
            return [
                self.branch1x1(x),
                torch.cat([self.branch3x3_2a(wide), self.branch3x3_2b(wide)], 1),
                torch.cat([self.branch3x3dbl_3a(deep), self.branch3x3dbl_3b(deep)], 1),
                self.branch_pool(max_pool2d(x, kernel_size=3, stride=1, padding=1)),
            ]

    return WithMaximum
