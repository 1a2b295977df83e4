"""From no process to the first vectors, by phase: `python -m benchmarks.encoding.start ours|peer FOLDER DTYPE`."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

TEXT = "Registered nurse for a small rural hospital"


class Phases:
    """Wall seconds by name, from the end of the phase before."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def ends(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = round(now - self._last, 3)
        self._last = now


def ours(folder: str, dtype: str) -> dict[str, float]:
    """Laying out weights is inside of loading; it is timed at the one class that does it."""
    phases = Phases()
    import torch

    phases.ends("import_torch")
    from jude.encoder import EncoderSpec, bert, kernels, manifest_of, open_encoder, open_tokeniser

    phases.ends("import_jude")
    spec = EncoderSpec("folder", path=folder, compute=dtype)
    manifest_of(spec)
    phases.ends("hash_weights")
    tokeniser = open_tokeniser(spec)
    phases.ends("open_tokeniser")
    laid_out: list[float] = []

    class Timed(kernels.Dense):
        def __init__(self, weight_FD: torch.Tensor, bias_F: torch.Tensor | None, activation: str = "none") -> None:
            began = time.perf_counter()
            super().__init__(weight_FD, bias_F, activation)
            laid_out.append(time.perf_counter() - began)

    bert.Dense = Timed  # type: ignore[attr-defined]  # where it is called
    encoder = open_encoder(spec)
    phases.ends("read_weights")
    phases.seconds["read_weights"] = round(phases.seconds["read_weights"] - sum(laid_out), 3)
    phases.seconds["lay_out_weights"] = round(sum(laid_out), 3)
    ids = [made.token_ids for made in tokeniser.inputs("", [TEXT])]
    for name in ("first_forward", "second_forward"):
        encoder.encode(ids)
        phases.ends(name)
    return phases.seconds


def peer(folder: str, dtype: str) -> dict[str, float]:
    """sentence-transformers."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    phases = Phases()
    import torch

    phases.ends("import_torch")
    from sentence_transformers import SentenceTransformer

    phases.ends("import_sentence_transformers")
    model = SentenceTransformer(folder, device="cpu", model_kwargs={"dtype": getattr(torch, dtype)})
    phases.ends("load")
    for name in ("first_forward", "second_forward"):
        model.encode([TEXT], show_progress_bar=False)
        phases.ends(name)
    return phases.seconds


if __name__ == "__main__":
    side, folder, dtype = sys.argv[1:]
    found = {"ours": ours, "peer": peer}[side](str(Path(folder)), dtype)
    print(json.dumps({**found, "all": round(sum(found.values()), 3)}))
