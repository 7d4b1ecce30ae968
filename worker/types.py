"""Names for what torch and diffusers hand over without useful types.

Their modules are reached through attributes that only exist at run time, so the names say what a
thing is to the reader; the type checker sees ``Any``.
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
"""An argument or a result that is only handed on."""
