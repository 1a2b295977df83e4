"""The parts of `benchmarks.training`: the pairs, and our update beside another trainer."""
