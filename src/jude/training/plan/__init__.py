"""A model's shape and a way to train it come in; bytes per GPU, hours and energy go out, before anything is rented."""

from jude.training.plan.memory import Memory, Way, memory_of
from jude.training.plan.shapes import Shape, shape_named
from jude.training.plan.speed import GPUS, Duration, Gpu, duration_of

__all__ = ["GPUS", "Duration", "Gpu", "Memory", "Shape", "Way", "duration_of", "memory_of", "shape_named"]
