"""One process of one side of the encoder benchmark: loads its model, says so, and encodes each time it is told to.

Talks JSON lines: {"texts": FILE} on the first line in, then one line out per "go".
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Encode = Callable[[Sequence[str]], NDArray[np.float32]]


def main() -> None:
    wanted = parse()
    os.environ["OMP_NUM_THREADS"] = str(wanted.threads)
    os.environ["HF_HUB_OFFLINE"] = "1"
    # What a library prints must not be taken for an answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    with Path(wanted.texts).open() as file:
        texts = json.load(file)[wanted.share :: wanted.shares]
    encode = {"ours": ours, "sentence-transformers": sentence_transformers, "peak": peak}[wanted.side](wanted)
    encode(texts[:16])
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(measured(encode, texts, keep=line.strip())), file=answers, flush=True)


def parse() -> argparse.Namespace:
    options = argparse.ArgumentParser()
    options.add_argument("--side", required=True)
    options.add_argument("--folder", required=True)
    options.add_argument("--texts", required=True)
    options.add_argument("--dtype", required=True)
    options.add_argument("--batch", type=int, required=True)
    options.add_argument("--threads", type=int, required=True)
    options.add_argument("--share", type=int, default=0)
    options.add_argument("--shares", type=int, default=1)
    return options.parse_args()


def measured(encode: Encode, texts: Sequence[str], keep: str) -> dict[str, Any]:
    began, cpu = time.perf_counter(), time.process_time()
    vectors = encode(texts)
    spent = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}
    if keep != "go":
        np.save(keep, vectors)
    return spent


def ours(wanted: argparse.Namespace) -> Encode:
    """Rendered text to vector as the driver does it, with the whole input as one window."""
    from jude.encoder import EncoderSpec, open_encoder, open_tokeniser

    spec = EncoderSpec(
        "folder", path=wanted.folder, compute=wanted.dtype, threads=wanted.threads, batch_tokens=wanted.batch
    )
    tokeniser, encoder = open_tokeniser(spec), open_encoder(spec)
    return lambda texts: encoder.encode([made.token_ids for made in tokeniser.inputs("job", texts)])


def sentence_transformers(wanted: argparse.Namespace) -> Encode:
    """The peer as its documentation says it; it sorts by length by itself."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(wanted.threads)
    model = SentenceTransformer(wanted.folder, device="cpu", model_kwargs={"dtype": getattr(torch, wanted.dtype)})

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        found: Any = model.encode(list(texts), batch_size=wanted.batch, convert_to_tensor=True, show_progress_bar=False)
        return np.asarray(found.float().numpy(), np.float32)

    return encode


def peak(wanted: argparse.Namespace) -> Encode:
    """No model: products of large matrices, as fast as this torch makes them; GFLOP/s as the only number."""
    import torch

    torch.set_num_threads(wanted.threads)
    size = 2048
    a, b = (torch.randn(size, size).to(getattr(torch, wanted.dtype)) for _ in "ab")

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        best = 0.0
        for _ in range(6):
            began = time.perf_counter()
            torch.mm(a, b)
            best = max(best, 2 * size**3 / (time.perf_counter() - began) / 1e9)
        return np.array([best], np.float32)

    return encode


if __name__ == "__main__":
    main()
