"""The set that must not be forgotten: a phase on clicks may unlearn relevance."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jude.errors import TerminalTrainingError
from jude.evaluation.ranking import mean_ndcg
from jude.training.base import find_base, open_tokeniser
from jude.training.data import read_pairs, tokenise
from jude.training.data.negatives import POSITIVE
from jude.training.inference import encode_ids
from jude.training.phase import Watch
from jude.training.settings import TrainingSettings
from jude.training.towers import Towers


def watcher(settings: TrainingSettings) -> Watch | None:
    """Give what measures nDCG@10 of `run.watch`: each query against all documents of that file; None without one.

    Raises TerminalTrainingError where there is nothing to be found.
    """
    if settings.run.watch is None:
        return None
    base = find_base(settings.model.base)
    data = tokenise(read_pairs(Path(settings.run.watch)), open_tokeniser(base, settings.model), tokeniser_name="watch")
    rows = np.flatnonzero(data.label >= POSITIVE)
    if not len(rows):
        raise TerminalTrainingError(f"run.watch: {settings.run.watch} holds no positive (label of {POSITIVE} or more).")
    queries, documents = np.unique(data.query[rows]), np.unique(data.document)
    relevant = [np.searchsorted(documents, data.document[rows][data.query[rows] == q]) for q in queries]

    def watch(towers: Towers) -> float:
        scores = (
            encode_ids(towers, [data.token_ids(int(n)) for n in queries])
            @ encode_ids(towers, [data.token_ids(int(n)) for n in documents]).T
        )
        return mean_ndcg(scores, relevant, 10)

    return watch
