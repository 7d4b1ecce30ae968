"""Names for objects of libraries without useful types: torch, diffusers, NVML.

Their attributes only exist at run time, so the type checker sees ``Any``; the names tell the reader
what an object is.
"""

from typing import Any, TypeAlias

Pipeline: TypeAlias = Any
"""A diffusers pipeline: SD1.x, SD2.x or SDXL."""
Module: TypeAlias = Any
"""A torch module of a known kind (a UNet, one of its blocks, an attention)."""
Tensor: TypeAlias = Any
"""A torch tensor."""
Dtype: TypeAlias = Any
"""A torch floating-point type."""
Opaque: TypeAlias = Any
"""A library's argument or result, passed through as it is."""
