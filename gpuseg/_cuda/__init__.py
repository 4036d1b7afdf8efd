"""CuPy launchers, one file per noun: allocation, grid, launch; the CUDA text is in `kernels/`."""
