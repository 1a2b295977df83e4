"""Raw text columns come in; out go the one text that models read, and the hashes that say whether it changed.

Pure functions over `str`: no Spark, no torch, no clock.
"""

from jude.text.hashes import column_digest, columns_hash, split_columns_hash, text_hash
from jude.text.normalise import RENDER_VERSION, normalise
from jude.text.render import render

__all__ = [
    "RENDER_VERSION",
    "column_digest",
    "columns_hash",
    "normalise",
    "render",
    "split_columns_hash",
    "text_hash",
]
