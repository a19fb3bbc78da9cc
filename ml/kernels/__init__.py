"""The only numba code: causal kernels over one-dimensional arrays, cut into slices by absolute time."""
