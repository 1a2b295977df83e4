"""The parts of `benchmarks.pipeline`: the real streaming job in a process of its own, in bulk, live, with a model."""
