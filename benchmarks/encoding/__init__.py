"""The parts of `benchmarks.encoder`: its sides, each in processes of its own, their texts, and the figures of them."""
