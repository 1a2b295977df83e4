"""Labelled pairs come in from Parquet, batches of token ids go out. No torch before a batch is on its way."""

from jude.training.data.batches import Batch, BatchMaker
from jude.training.data.pairs import PAIRS, read_pairs
from jude.training.data.sampling import Sampler
from jude.training.data.splits import check_leakage, split_by_time
from jude.training.data.tokenised import TokenisedPairs, tokenise

__all__ = [
    "PAIRS",
    "Batch",
    "BatchMaker",
    "Sampler",
    "TokenisedPairs",
    "check_leakage",
    "read_pairs",
    "split_by_time",
    "tokenise",
]
