"""The parts of `benchmarks.gpu`: random weights in published shapes, and the GPU behind the server."""
