"""Labelled pairs of texts come in, a trained adapter goes out. What needs torch is imported from the modules.

`data` reads, splits and batches pairs; `losses` is the arithmetic; `step` joins both in one update; `trainer` repeats
it; `resume` stops and goes on; `distillation` learns from a teacher.
"""
