"""Decide what every change means: change events and known state come in, planned rows with a reason each go out.

Pure functions over Arrow tables; the same code runs on the driver and, per bucket of keys, on executors.
"""

from jude.planning.inputs import add_inputs
from jude.planning.order import key_roots
from jude.planning.plan import keys_of, keys_to_restore, plan_batch
from jude.planning.state import Key, Reason

__all__ = ["Key", "Reason", "add_inputs", "key_roots", "keys_of", "keys_to_restore", "plan_batch"]
