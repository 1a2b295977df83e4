"""Labelled pairs of texts come in, a trained adapter goes out. What needs torch is imported from the modules.

`data` reads, splits and batches pairs; `losses` is the arithmetic; `step` joins both in one update; `phase` repeats it,
`checkpoints` let it stop and go on, `trainer` makes the adapter; `teacher` scores pairs that a student learns from.
"""
