"""How alike two images are: PSNR and SSIM against the baseline's image of the same seed."""

from __future__ import annotations

from worker.types import Tensor


def psnr(images: Tensor, references: Tensor) -> list[float]:
    """Return the peak signal-to-noise ratio of each pair in dB, at most 100 (equal images).

    Args:
        images: a tensor of shape [n, 3, height, width], values from 0 to 1.
        references: the same shape.
    """
    error = (images.float() - references.float()).square().mean(dim=(1, 2, 3)).clamp_min(1e-10)
    decibel: list[float] = (-10 * error.log10()).tolist()
    return decibel


def ssim(images: Tensor, references: Tensor) -> list[float]:
    """Return the structural similarity of each pair (Wang et al. 2004), 1 for equal images.

    Args:
        images: a tensor of shape [n, 3, height, width], values from 0 to 1.
        references: the same shape.
    """
    from torchmetrics.functional.image.ssim import structural_similarity_index_measure

    values: list[float] = structural_similarity_index_measure(
        images.float(), references.float(), data_range=1.0, reduction="none"
    ).tolist()
    return values
