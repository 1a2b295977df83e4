"""Candidate lists of real titles: what the teacher, the students and the ablations are trained on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def whole(file: Path) -> Iterator[Path]:
    """Give the path to write to; only what was written to its end gets the name of `file`."""
    partial = file.with_name(f".{file.name}")
    yield partial
    partial.replace(file)


def write_whole(table: pa.Table, file: Path) -> None:
    """Write Parquet that is there whole or not at all, also where the process is killed."""
    with whole(file) as partial:
        pq.write_table(table, partial)


def title_lists(titles: int, mined: int, drawn: int) -> pa.Table:
    """Titles of USAJOBS postings beside their series; negatives mined by the base model and drawn at random."""
    train = _usajobs()
    kept = np.random.default_rng(0).permutation(train["query_text"].unique().to_pylist())[:titles]
    pairs = checked(train.filter(pc.is_in(train["query_text"], pa.array(kept))))
    base = find_base(MINILM)
    data = tokenise(pairs, open_tokeniser(base, MODEL), tokeniser_name=base.tokeniser_name)
    towers = Towers(open_model(base, MODEL, torch.device("cpu")), MODEL, None)
    return candidate_lists(data, mine(towers, data, mined, margin=0.05, chunk_tokens=2048), drawn)


def mislabelled(lists: pa.Table, share: float) -> pa.Table:
    """Of a share of the lists the match and a negative change their labels: what noise in the labels does."""
    label, number = lists["label"].to_numpy().copy(), lists["list"].to_numpy()
    random = np.random.default_rng(0)
    for wrong in random.permutation(np.unique(number))[: round(share * len(np.unique(number)))]:
        rows = np.flatnonzero(number == wrong)
        label[rows] = 0
        label[random.choice(rows[1:] if len(rows) > 1 else rows)] = 1  # the match is the first
    return lists.set_column(lists.column_names.index("label"), "label", pa.array(label, pa.float32()))


def unseen_titles() -> Retrieval:
    """Titles first posted after all that is trained on, against every series."""
    unseen, trained = title_pairs()
    return retrieval_of(unseen, trained["document_text"].to_pylist())


def title_pairs() -> tuple[pa.Table, pa.Table]:
    """Give the pairs of the unseen titles, and those that are trained on."""
    return pq.read_table(DATA / "unseen.parquet"), _usajobs()


def _usajobs() -> pa.Table:
    return pq.read_table(DATA / "pairs.parquet", filters=[("source", "=", "usajobs")])
