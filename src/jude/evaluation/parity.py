"""One model through four doors: base and adapter, merged, as the pipeline serves it, by sentence-transformers."""

# N texts, D width, T tokens, B texts of a batch

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jude.encoder import EncoderSpec, open_tokeniser
from jude.encoder.batches import token_batches
from jude.errors import TerminalTrainingError
from jude.evaluation.encoding import BARE, Encode, encode_by
from jude.evaluation.gates import require_merge, require_same, require_serving
from jude.evaluation.titles import Retrieval

Vectors = NDArray[np.float32]

MOST_TEXTS = 512
_PASS_TOKENS = 2048


@dataclass(frozen=True, slots=True)
class Parity:
    """How close the doors are."""

    texts: int
    merge_error: float  # largest difference of a number, merged against adapter, float32
    serving_cosine: float  # least cosine, as served against adapter
    serving_ndcg: float  # nDCG@10 as served minus by the adapter
    sentence_transformers_error: float  # largest difference of a number, as served against sentence-transformers


def require_parity(trained: EncoderSpec, released: EncoderSpec, collection: Retrieval) -> Parity:
    """Compare the doors on real texts, bare. Raises TerminalTrainingError at the first that is not the same.

    `trained` names base and adapter, `released` the merged folder with the settings it is served by.
    """
    assert trained.path
    assert trained.adapter
    assert released.path
    texts = real_texts(collection)
    bare = replace(trained, prompts={}, max_tokens=released.max_tokens)
    by_adapter = reference_encode(bare, Path(trained.path), Path(trained.adapter))
    adapter_ND = by_adapter(BARE, texts)
    error = require_merge(adapter_ND, reference_encode(bare, Path(released.path), None)(BARE, texts))
    served = encode_by(replace(released, prompts={}))
    before, after = (float(np.nanmean(collection.metrics(one)["ndcg_at_10"])) for one in (by_adapter, served))
    cosine = require_serving(adapter_ND, served(BARE, texts), before, after)
    theirs_ND = by_sentence_transformers(Path(released.path), texts, released.max_tokens)
    theirs = require_same(served(BARE, texts), theirs_ND, released.compute)
    return Parity(len(texts), error, cosine, after - before, theirs)


def real_texts(collection: Retrieval, seed: int = 0) -> list[str]:
    """Draw texts of both sides of a collection."""
    texts = sorted({*collection.queries, *collection.documents})
    drawn = np.random.default_rng(seed).permutation(len(texts))[:MOST_TEXTS]
    return [texts[row] for row in sorted(drawn)]


def reference_encode(spec: EncoderSpec, folder: Path, adapter: Path | None) -> Encode:
    """Embed by transformers itself, in float32, with the adapter beside the base where one is given."""
    import torch

    from jude.encoder.pooling import finish, pool
    from jude.encoder.transformer import open_transformer

    causal = None if spec.mask is None else spec.mask == "causal"
    model = open_transformer(folder, adapter=adapter, merge=False, causal=causal)
    tokeniser = open_tokeniser(spec)
    pooling = spec.pooling
    if pooling is None:
        raise TerminalTrainingError(f"{folder} does not say its pooling, so there is nothing to compare with.")

    @torch.inference_mode()
    def encode(_: str, texts: Sequence[str]) -> Vectors:
        ids = [found.token_ids for found in tokeniser.inputs(BARE, list(texts))]
        found: list[tuple[NDArray[np.int64], Vectors]] = []
        for rows in token_batches([len(one) for one in ids], _PASS_TOKENS):
            lengths_B = torch.tensor([len(ids[row]) for row in rows])
            ids_T = torch.tensor([number for row in rows for number in ids[row]])
            pooled_BD = pool(model.states(ids_T, lengths_B), lengths_B, pooling)
            found.append((rows, finish(pooled_BD, pooled_BD.shape[1], normalised=True).numpy()))
        vectors_ND = np.empty((len(ids), found[0][1].shape[1]), np.float32)
        for rows, part_BD in found:
            vectors_ND[rows] = part_BD
        return vectors_ND

    return encode


def by_sentence_transformers(folder: Path, texts: Sequence[str], max_tokens: int | None = None) -> Vectors:
    """Embed by sentence-transformers, from the folder alone; max_tokens: where a deployment reads less than it."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    if max_tokens is not None:
        model.max_seq_length = max_tokens
    vectors_ND: Vectors = model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
    return vectors_ND
