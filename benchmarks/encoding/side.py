"""One process of one side of the encoder benchmark: loads its model, says so, and encodes each time it is told to.

Talks JSON lines: {"texts": FILE, "batch": N, "keep": FILE or null} in, {"cpu_seconds": X} out. The sides import their
own libraries alone, so that each runs in an environment without those of the others.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Encode = Callable[[Sequence[str], int], NDArray[np.float32]]
"""Texts, and the batch: rows for the others, tokens for ours."""


def main() -> None:
    wanted = parse()
    os.environ["OMP_NUM_THREADS"] = str(wanted.threads)
    os.environ["HF_HUB_OFFLINE"] = "1"
    # What a library prints must not be taken for an answer.
    answers, sys.stdout = sys.stdout, sys.stderr
    encode = SIDES[wanted.side](wanted)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        texts = share_of(asked["texts"], wanted.share)
        print(json.dumps(measured(encode, texts, asked["batch"], asked["keep"])), file=answers, flush=True)


def parse() -> argparse.Namespace:
    options = argparse.ArgumentParser()
    options.add_argument("--side", required=True)
    options.add_argument("--folder", required=True)
    options.add_argument("--dtype", required=True)
    options.add_argument("--threads", type=int, required=True)
    options.add_argument("--share", default="0/1", help="which of how many processes this is")
    return options.parse_args()


@lru_cache(maxsize=1)
def share_of(file: str, share: str) -> list[str]:
    number, shares = map(int, share.split("/"))
    texts: list[str] = json.loads(Path(file).read_text())
    return texts[number::shares]


def measured(encode: Encode, texts: Sequence[str], batch: int, keep: str | None) -> dict[str, float]:
    cpu = time.process_time()
    vectors = encode(texts, batch)
    spent = time.process_time() - cpu
    if keep:
        np.save(keep, vectors)
    return {"cpu_seconds": spent}


def ours(wanted: argparse.Namespace) -> Encode:
    """Rendered text to vector as the driver does it, with the whole input as one window."""
    from jude.encoder import EncoderSpec, open_encoder, open_tokeniser

    def spec(batch: int) -> EncoderSpec:
        return EncoderSpec(
            "folder", path=wanted.folder, compute=wanted.dtype, threads=wanted.threads, batch_tokens=batch
        )

    tokeniser = open_tokeniser(spec(1))
    open_encoder(spec(2048))
    return lambda texts, batch: open_encoder(spec(batch)).encode(
        [made.token_ids for made in tokeniser.inputs("", texts)]
    )


def sentence_transformers(wanted: argparse.Namespace) -> Encode:
    """The peer as its documentation says it; it sorts by length by itself."""
    import torch

    torch.set_num_threads(wanted.threads)
    return _by_rows(_opened(wanted))


def int8_torch(wanted: argparse.Namespace) -> Encode:
    """The peer with PyTorch's own dynamic int8: weights once, activations in every product."""
    import torch

    torch.set_num_threads(wanted.threads)
    torch.backends.quantized.engine = "x86"
    model = _opened(wanted)
    return _by_rows(torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, torch.qint8))  # type: ignore[no-untyped-call]  # torch's


def int8_onnx(wanted: argparse.Namespace) -> Encode:
    """The peer on ONNX Runtime with the dynamic int8 of its documentation; `folder` holds the exported file."""
    import onnxruntime
    from sentence_transformers import SentenceTransformer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = wanted.threads
    arguments = {"file_name": "onnx/model_qint8_avx512_vnni.onnx", "provider": "CPUExecutionProvider",
                 "session_options": options}  # fmt: skip
    return _by_rows(SentenceTransformer(wanted.folder, backend="onnx", device="cpu", model_kwargs=arguments))


def gemm(wanted: argparse.Namespace) -> Encode:
    """No model: products of large matrices, by MKL and by oneDNN (MKL is slow on AMD); GFLOP/s as the only number."""
    import torch

    from jude.encoder.kernels import Dense

    torch.set_num_threads(wanted.threads)
    size = 2048
    a, b = (torch.randn(size, size).to(getattr(torch, wanted.dtype)) for _ in "ab")
    by_onednn = Dense(b, None)

    def seconds(product: Callable[[], object]) -> float:
        began = time.perf_counter()
        product()
        return time.perf_counter() - began

    def encode(_: Sequence[str], repeats: int) -> NDArray[np.float32]:
        with torch.inference_mode():
            ways = [lambda: torch.mm(a, b), lambda: by_onednn(a)]
            best = min(seconds(product) for product in ways for _ in range(repeats))
        return np.array([2 * size**3 / best / 1e9], np.float32)

    return encode


def _opened(wanted: argparse.Namespace) -> Any:  # noqa: ANN401 - either side's
    import torch
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(wanted.folder, device="cpu", model_kwargs={"dtype": getattr(torch, wanted.dtype)})


def _by_rows(model: Any) -> Encode:  # noqa: ANN401 - either side's
    def encode(texts: Sequence[str], batch: int) -> NDArray[np.float32]:
        found = model.encode(list(texts), batch_size=batch, convert_to_tensor=True, show_progress_bar=False)
        return np.asarray(found.float().cpu().numpy(), np.float32)

    return encode


SIDES: dict[str, Callable[[argparse.Namespace], Encode]] = {
    "ours": ours,
    "sentence-transformers": sentence_transformers,
    "int8-torch": int8_torch,
    "int8-onnx": int8_onnx,
    "gemm": gemm,
}


if __name__ == "__main__":
    main()
