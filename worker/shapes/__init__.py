"""Small text-to-image pipelines that were really trained, and the CLIP that scores them.

They draw coloured shapes from captions such as "a small red circle left of a large blue square on
a green background". Everything they need is in this package: the captions (`grammar`), the
pictures (`raster`), the models (`models`), their training (`train`) and the trained weights.
"""

from pathlib import Path

_WEIGHTS = Path(__file__).parent / "weights"

#: Folders in the layout of diffusers, for `from_pretrained`, by the name of the pipe.
PIPELINE_FOLDERS = {"SHAPES_SD15": _WEIGHTS / "sd15", "SHAPES_SDXL": _WEIGHTS / "sdxl"}

#: Folder of the scorer, for `open_clip.create_model_and_transforms("local-dir:<folder>")`.
SCORER_FOLDER = _WEIGHTS / "scorer"
