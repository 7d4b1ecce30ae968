"""Functions and methods that make the same of the same, and change nothing that they are given."""

from __future__ import annotations

FUNCTIONS = frozenset(
    [
        "PIL.Image.fromarray",
        "PIL.Image.merge",
        "PIL.Image.new",
        "PIL.Image.open",
        "PIL.ImageOps.grayscale",
        "PIL.ImageOps.invert",
        "cv2.Canny",
        "cv2.GaussianBlur",
        "cv2.cvtColor",
        "cv2.imread",
        "cv2.resize",
        "diffusers.utils.load_image",
        "diffusers.utils.loading_utils.load_image",
        "diffusers.utils.make_image_grid",
        "huggingface_hub.hf_hub_download",
        "huggingface_hub.snapshot_download",
        "io.BytesIO",
        "numpy.array",
        "numpy.asarray",
        "numpy.concatenate",
        "numpy.expand_dims",
        "numpy.full",
        "numpy.ones",
        "numpy.stack",
        "numpy.zeros",
        "safetensors.torch.load_file",
        "torch.cat",
        "torch.from_numpy",
        "torch.full",
        "torch.load",
        "torch.ones",
        "torch.stack",
        "torch.tensor",
        "torch.zeros",
    ]
)
METHODS = frozenset(
    [
        "astype",
        "clone",
        "contiguous",
        "convert",
        "copy",
        "cpu",
        "crop",
        "cuda",
        "detach",
        "filter",
        "float",
        "getchannel",
        "half",
        "numpy",
        "permute",
        "repeat",
        "reshape",
        "resize",
        "rotate",
        "save",
        "show",
        "split",
        "squeeze",
        "to",
        "transpose",
        "unsqueeze",
        "view",
    ]
)
# Functions of diffusers that give a model a cache; the second argument is its configuration.
CACHES = frozenset(
    [
        "apply_faster_cache",
        "apply_first_block_cache",
        "apply_mag_cache",
        "apply_pyramid_attention_broadcast",
        "apply_sea_cache",
        "apply_taylorseer_cache",
        "apply_text_kv_cache",
    ]
)
