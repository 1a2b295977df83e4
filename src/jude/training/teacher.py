"""A trained cross-encoder as what it is for: scores of pairs, offline, into a table that students are trained on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from jude.encoder import EncoderSpec, open_encoder
from jude.encoder.tokenising import bos_id
from jude.encoder.version import file_sha256
from jude.errors import TerminalTrainingError
from jude.settings.reading import validated
from jude.training.base import chosen_device, find_base, open_tokeniser
from jude.training.data import tokenise
from jude.training.data.joined import joined
from jude.training.data.pairs import laid_out
from jude.training.data.scores import SCORES, text_hashes
from jude.training.heads import HEADS, head_of
from jude.training.settings import TrainingSettings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

SIDES: Final = ("query_text", "query_type", "document_text", "document_type")
SCHEMA: Final = "teacher_version string, query_text_hash string, document_text_hash string, teacher_score float"


class Teacher:
    """The adapter and the head of a run of kind cross_encoder."""

    def __init__(self, adapter: Path, threads: int | None = None) -> None:
        """Raises TerminalTrainingError for the adapter of something else, or of another base."""
        identity = _identity(adapter)
        settings = validated(TrainingSettings, identity["settings"], {(): str(adapter)})
        self._model = settings.model
        self._base = find_base(settings.model.base)
        if self._base.weights_hash != identity["base"]:
            raise TerminalTrainingError(f"{adapter} is of another {self._base.name} than the one that is here.")
        self.version = teacher_version(adapter)
        self._encoder = open_encoder(self._spec(adapter, threads))
        heads = torch.load(adapter / HEADS, weights_only=True)
        self._head = head_of("joint", self._encoder.width, 0.5)
        self._head.load_state_dict({n.removeprefix("head."): t for n, t in heads.items() if n.startswith("head.")})

    def _spec(self, adapter: Path, threads: int | None) -> EncoderSpec:
        """Give the pipeline's own encoder of joined texts: the head reads vectors as long as pooling left them."""
        device = chosen_device(self._model)
        return EncoderSpec(
            kind="folder",
            path=str(self._base.folder),
            adapter=str(adapter),
            pooling=self._model.pooling,
            mask=self._model.mask,
            max_tokens=self._model.max_tokens,
            compute="bfloat16" if device.type == "cuda" else "float32",
            normalise=False,
            threads=threads,
            device=str(device),
        )

    @torch.no_grad()
    def score(self, pairs: pa.Table) -> NDArray[np.float32]:
        """Give the logit of each pair. Columns in: PAIRS."""
        data = tokenise(pairs, open_tokeniser(self._base, self._model), tokeniser_name="")
        data = joined(data, self._model.max_tokens, bos_id(self._base.tokeniser_file))
        joint_BD = torch.from_numpy(self._encoder.encode([ids.as_py() for ids in data.ids]))
        logits: NDArray[np.float32] = self._head(joint_BD, joint_BD).numpy()
        return logits[data.query]


def teacher_version(adapter: Path) -> str:
    """Name a teacher by what its scores depend on: `cross-encoder-1a2b3c4d5e6f`."""
    parts = [_identity(adapter)["base"], *(file_sha256(adapter / f) for f in ("adapter_model.safetensors", HEADS))]
    return f"cross-encoder-{blake2b(' '.join(parts).encode(), digest_size=6).hexdigest()}"


def _identity(adapter: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((adapter / "jude_training.json").read_text())["identity"]
    except OSError as error:
        raise TerminalTrainingError(f"{adapter} is no adapter of a training run: {error}.") from error
    if (kind := found["settings"]["model"]["kind"]) != "cross_encoder":
        raise TerminalTrainingError(f"{adapter} is no cross-encoder: its run has model.kind {kind}.")
    return found


def score_pairs(pairs: DataFrame, adapter: Path) -> DataFrame:
    """Score the distinct pairs of a Spark table where they are.

    Columns in:  those that PAIRS needs
    Columns out: SCORES, one row per (query text, document text)
    """
    distinct = pairs.select(*SIDES).dropDuplicates(["query_text", "document_text"])
    return distinct.mapInArrow(_score_batches(str(adapter), teacher_version(adapter)), SCHEMA)


def require_sides(pairs: DataFrame, name: str) -> None:
    """Raise TerminalTrainingError where pairs lack a text or its type: which column, in how many rows."""
    from pyspark.sql.functions import col, count_if

    absent = [column for column in SIDES if column not in pairs.columns]
    if absent:
        raise TerminalTrainingError(f"{name}: the columns {', '.join(absent)} are missing.")
    nulls = pairs.select(*(count_if(col(column).isNull()).alias(column) for column in SIDES)).first()
    told = [f"{count} rows have no {column}" for column, count in (nulls.asDict() if nulls else {}).items() if count]
    if told:
        raise TerminalTrainingError(f"{name}: {', '.join(told)}. Mend or drop them.")


def _score_batches(adapter: str, version: str) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def score(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        teacher = _opened(adapter, version)
        for batch in batches:
            if batch.num_rows:
                yield _scored(teacher, pa.Table.from_batches([batch]))

    return score


def _scored(teacher: Teacher, pairs: pa.Table) -> pa.RecordBatch:
    labelled = pairs.append_column("label", pa.array(np.zeros(pairs.num_rows, np.float32)))  # a door asks for one
    columns = [
        pa.array([teacher.version] * pairs.num_rows, pa.string()),
        text_hashes(pairs["query_text"]),
        text_hashes(pairs["document_text"]),
        pa.array(teacher.score(laid_out(labelled))),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCORES)


@lru_cache(maxsize=1)
def _opened(adapter: str, version: str) -> Teacher:
    """Keep one teacher per worker; the version tells one that was trained anew in the same folder."""
    teacher = Teacher(Path(adapter), threads=1)  # Spark runs one Python worker per core
    if teacher.version != version:
        raise TerminalTrainingError(f"{adapter} was {version} when the scoring began, and is {teacher.version} now.")
    return teacher
