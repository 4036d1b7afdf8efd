"""NumPy and numba implementations, one file per noun."""
