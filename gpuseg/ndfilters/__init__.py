"""dask-image's `ndfilters` names, as thin functions over SciPy's filters by chunks with halos.

Every function takes NumPy, CuPy and Dask arrays and gives the same, lazily for Dask. Answers are
those of `scipy.ndimage` on the whole array, of the image's dtype, however it is chunked. They
differ from dask-image's where dask-image's are not SciPy's: with ``mode="wrap"``, which it does
chunk by chunk in all functions but `convolve` and `correlate`. `threshold_local` is
`gpuseg.filters.threshold_local`, in float64.
"""

from gpuseg.ndfilters.linear import (
    convolve,
    correlate,
    gaussian,
    gaussian_filter,
    gaussian_gradient_magnitude,
    gaussian_laplace,
    laplace,
    prewitt,
    sobel,
    uniform_filter,
)
from gpuseg.ndfilters.ranks import (
    generic_filter,
    maximum_filter,
    median_filter,
    minimum_filter,
    percentile_filter,
    rank_filter,
    threshold_local,
)

__all__ = [
    "convolve",
    "correlate",
    "gaussian",
    "gaussian_filter",
    "gaussian_gradient_magnitude",
    "gaussian_laplace",
    "generic_filter",
    "laplace",
    "maximum_filter",
    "median_filter",
    "minimum_filter",
    "percentile_filter",
    "prewitt",
    "rank_filter",
    "sobel",
    "threshold_local",
    "uniform_filter",
]
