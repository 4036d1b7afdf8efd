"""Count cells in the regions of an atlas: objects in micrometres, counts and densities."""

from gpuseg._shared.atlas_frame import Midline
from gpuseg._shared.structures import Structures
from gpuseg.atlas.annotation import Atlas, open_atlas
from gpuseg.atlas.cells import find_cells, measure_cells
from gpuseg.atlas.regions import count_regions, density_map, locate
from gpuseg.io.structures import read_structures

__all__ = [
    "Atlas",
    "Midline",
    "Structures",
    "count_regions",
    "density_map",
    "find_cells",
    "locate",
    "measure_cells",
    "open_atlas",
    "read_structures",
]
