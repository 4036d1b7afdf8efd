"""Types that public functions share."""

from typing import Any, TypeAlias

import numpy.typing as npt

NumpyArray: TypeAlias = npt.NDArray[Any]

# A NumPy, CuPy or Dask array (of either). CuPy and Dask are optional at run time and ship no
# complete types, so the union cannot be spelled; the name tells the reader what is meant.
Array: TypeAlias = Any
