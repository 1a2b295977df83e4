"""The servers that `benchmarks.serving` and `benchmarks.lanes` ask, their model, and the load that is put on them."""
