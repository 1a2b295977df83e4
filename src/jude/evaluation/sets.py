"""Evaluation sets by name: the shipped titles, public sets where their folder is given, or a file of pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jude.errors import TerminalTrainingError
from jude.evaluation import readers
from jude.evaluation.encoding import Encode
from jude.evaluation.judged import Judged, with_negatives
from jude.evaluation.measured import Measured
from jude.evaluation.slices import new_texts, slices_of
from jude.evaluation.titles import Retrieval, retrieval_of
from jude.training.data.pairs import data_hash, read_pairs

TITLES: Final = "titles"
GUARDS: Final = ("sts", "scifact")
"""Sets of no job at all: what a tuned model may have forgotten shows here."""


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """What a model is measured on."""

    name: str
    about: str
    retrieval: Retrieval | None = None
    judged: Judged | None = None
    slices: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    published: Mapping[str, float] = field(default_factory=dict)  # MRR of other systems, best first
    data_hash: str | None = None

    def measure(self, encode: Encode, k: int = 10) -> Measured:
        """Embed the set and score it, query by query and pair by pair."""
        return Measured(
            by_query=self.retrieval.metrics(encode, k) if self.retrieval else {},
            scored=self.judged.score(encode) if self.judged else None,
            slices=self.slices,
            first=self.retrieval.first(encode, k) if self.retrieval else None,
        )


@dataclass(frozen=True, slots=True)
class Places:
    """Where sets lie. `shipped` holds unseen.parquet and pairs.parquet, `public` the folders of public sets."""

    shipped: Path
    public: Path | None = None
    most_documents: int | None = None  # of SciFact; None: all


def open_sets(wanted: Sequence[str], places: Places) -> tuple[list[EvaluationSet], list[str]]:
    """Open the sets that are named (none: all that are there); also say in a sentence which are not, and why.

    Raises TerminalTrainingError for a name that is no set, for a named one that is absent, for two of one name, and
    where nothing is left to measure.
    """
    names = list(dict.fromkeys(wanted)) or [TITLES, *_PUBLIC]
    _require_own_names(names)
    absent = {name: why for name in names if (why := _absent(name, places))}
    skipped = [f"{name} is skipped: {why}" for name, why in absent.items()]
    if len(absent) == len(names):
        raise TerminalTrainingError("There is nothing to measure on. " + " ".join(skipped))
    if wanted and absent:
        told = " ".join(f"{name}: {why}" for name, why in absent.items())
        raise TerminalTrainingError(f"Not every set that was asked for is there. {told}")
    found = [_open(name, places) for name in names if name not in absent]
    return found, skipped


def _require_own_names(names: Sequence[str]) -> None:
    """A file is called by its stem: it must not pass for a public set, whose gate is another, or for another file."""
    known, called = {TITLES, *_PUBLIC}, Counter(map(_called, names))
    for name in names:
        if name not in known and (_called(name) in known or called[_called(name)] > 1):
            raise TerminalTrainingError(
                f"{name} would be measured as {_called(name)!r}, which is the name of another set. Rename the file."
            )


def _called(name: str) -> str:
    return name if name in {TITLES, *_PUBLIC} else Path(name).stem


def pairs_set(name: str, pairs: pa.Table, trained: pa.Table | None) -> EvaluationSet:
    """Make a set of labelled pairs; documents of the training pairs' same types are there to choose from, too."""
    known = trained if trained is not None else pairs.schema.empty_table()
    retrieval = retrieval_of(pairs, _documents_of(known, set(pairs["source"].to_pylist())))
    unseen = " of which none was trained on" if trained is not None and new_texts(retrieval, trained).all() else ""
    about = f"{len(retrieval.queries):,} texts{unseen} against {len(retrieval.documents):,} documents"
    judged = with_negatives(retrieval)
    return EvaluationSet(name, about, retrieval, judged, slices_of(retrieval, pairs, trained), {}, data_hash(pairs))


def _documents_of(trained: pa.Table, sources: set[str | None]) -> list[str]:
    rows = trained.select(["source", "document_text"]).to_pylist()
    return [row["document_text"] for row in rows if row["source"] in sources]


def _open(name: str, places: Places) -> EvaluationSet:
    if name in _PUBLIC:
        folder, make = _PUBLIC[name]
        assert places.public is not None
        return make(places.public / folder, places)
    trained = places.shipped / "pairs.parquet"
    file = places.shipped / "unseen.parquet" if name == TITLES else Path(name)
    return pairs_set(
        _called(name), read_pairs(file), read_pairs(trained) if name == TITLES and trained.exists() else None
    )


def _absent(name: str, places: Places) -> str | None:
    """Say why a set cannot be opened; None where it can. Raises TerminalTrainingError for what nobody knows."""
    if name in _PUBLIC:
        if places.public is None:
            return f"it is not shipped; --data FOLDER names the folder that holds {_PUBLIC[name][0]}."
        return None if (places.public / _PUBLIC[name][0]).is_dir() else f"{places.public} holds no {_PUBLIC[name][0]}."
    file = places.shipped / "unseen.parquet" if name == TITLES else Path(name)
    if name != TITLES and file.suffix != ".parquet":
        known = ", ".join([TITLES, *_PUBLIC])
        raise TerminalTrainingError(f"There is no evaluation set {name!r}. Known: {known}, or a Parquet file of pairs.")
    return None if file.exists() else f"there is no {file}."


def _melo(folder: Path, _: Places) -> EvaluationSet:
    found = readers.read_melo(folder)
    about = f"{len(found.queries)} O*NET titles against {len(found.documents):,} ESCO labels"
    return EvaluationSet("melo", about, found, published=readers.published_melo(folder))


def _sts(folder: Path, _: Places) -> EvaluationSet:
    found = readers.read_sts(folder)
    return EvaluationSet("sts", f"{len(found.labels):,} sentence pairs graded by people", judged=found)


def _scifact(folder: Path, places: Places) -> EvaluationSet:
    found = readers.read_scifact(folder, places.most_documents)
    return EvaluationSet("scifact", f"{len(found.queries)} claims against {len(found.documents):,} abstracts", found)


_PUBLIC: Final[Mapping[str, tuple[str, Callable[[Path, Places], EvaluationSet]]]] = {
    "melo": (readers.MELO, _melo),
    "sts": (readers.STS, _sts),
    "scifact": (readers.SCIFACT, _scifact),
}
