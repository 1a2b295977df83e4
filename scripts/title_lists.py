"""Candidate lists of real titles: what the teacher, the students and the ablations are trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from jude.encoder.packaged import MINILM
from jude.evaluation.titles import Retrieval, retrieval_of
from jude.training.base import find_base, open_model, open_tokeniser
from jude.training.data import tokenise
from jude.training.data.pairs import checked
from jude.training.lists import candidate_lists
from jude.training.mining import mine
from jude.training.settings import ModelSettings
from jude.training.towers import Towers

DATA: Final = Path("data/training")
MODEL: Final = ModelSettings(max_tokens=48)


def title_lists(titles: int, mined: int, drawn: int) -> pa.Table:
    """Titles of USAJOBS postings beside their series; negatives mined by the base model and drawn at random."""
    train = _usajobs()
    kept = np.random.default_rng(0).permutation(train["query_text"].unique().to_pylist())[:titles]
    pairs = checked(train.filter(pc.is_in(train["query_text"], pa.array(kept))))
    base = find_base(MINILM)
    data = tokenise(pairs, open_tokeniser(base, MODEL), tokeniser_name=base.tokeniser_name)
    towers = Towers(open_model(base, MODEL, torch.device("cpu")), MODEL, None)
    return candidate_lists(data, mine(towers, data, mined, margin=0.05, chunk_tokens=2048), drawn)


def unseen_titles() -> Retrieval:
    """Titles first posted after all that is trained on, against every series."""
    return retrieval_of(pq.read_table(DATA / "unseen.parquet"), _usajobs()["document_text"].to_pylist())


def _usajobs() -> pa.Table:
    return pq.read_table(DATA / "pairs.parquet", filters=[("source", "=", "usajobs")])
