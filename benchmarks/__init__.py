"""Measurements with one command each: `python -m benchmarks.savings`, `python -m benchmarks.pipeline`.

Numbers are printed as they are measured; the last line of output is one JSON object.
"""
