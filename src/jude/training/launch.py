"""Ranks: TorchDistributor starts them (local mode or Spark's barrier tasks), DeepSpeed's ZeRO-1 shares the optimizer.

What runs in a rank imports torch inside, gets plain values and gives back paths: it travels by pickle.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

from jude.errors import TerminalError, TerminalTrainingError, TransientTrainingError
from jude.locking import locked_folder

RANK_LOST_SECONDS = 50
"""A collective that waits longer for a rank has lost it; the job ends within a minute, and resumes."""


def locked_run(folder: Path) -> AbstractContextManager[None]:
    """Hold the folder of a run while its ranks write there. Raises TerminalEnvironmentError where another does."""
    return locked_folder(
        folder,
        taken=lambda holder: (
            f"Process {holder} already trains in {folder}. Wait for it, or give this run a --folder of its own."
        ),
        unwritable=lambda reason: (
            f"The folder {folder} of the run cannot be written ({reason}). Name another --folder."
        ),
    )


def train_rank(conf: str, overrides: list[str], folder: str, engine: str) -> dict[str, Any]:
    """Be one rank of a run (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT in the environment); give plain facts."""
    import torch.distributed as dist

    from jude.training.reading import load_training

    settings = load_training(Path(conf), overrides)
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    if ranks > 1 or engine == "zero":
        _join(settings.model.device)
    try:
        return _train(settings, Path(folder), engine, ranks)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _join(device: str) -> None:
    import torch
    import torch.distributed as dist

    cuda = device != "cpu" and torch.cuda.is_available()
    if not cuda:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    try:
        dist.init_process_group("nccl" if cuda else "gloo", timeout=timedelta(seconds=RANK_LOST_SECONDS))
    except RuntimeError as error:
        address = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise TransientTrainingError(
            f"The ranks could not meet at {address} ({str(error).splitlines()[0]}). Another program may have the port, "
            "or a rank did not start: start the same command again."
        ) from error


def _train(settings: Any, folder: Path, engine: str, ranks: int) -> dict[str, Any]:  # noqa: ANN401  settings
    import torch

    from jude.training.trainer import Trainer
    from jude.training.watching import watcher

    if not settings.run.threads and ranks > 1:  # one process keeps torch's own count, which OMP_NUM_THREADS sets
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // ranks))
    trainer = Trainer(settings, folder, "zero" if engine == "zero" else "plain")
    done = trainer.run(watcher(settings))
    return {"adapter": str(done.adapter), "updates": done.updates, "skipped": done.skipped, "loss": done.last_loss}


def _rank_that_explains(conf: str, overrides: list[str], folder: str, engine: str) -> dict[str, Any]:
    """Be one rank; what a person must mend is given back as words, because of a failed process only its status is."""
    try:
        return train_rank(conf, overrides, folder, engine)
    except TerminalError as error:
        return {"refused": str(error)}


def train_distributed(
    conf: Path, overrides: list[str], folder: Path, *, ranks: int, local: bool = True, gpu: bool = False
) -> dict[str, Any]:
    """Start the ranks and wait. `local`: all ranks on the driver; else one barrier task each.

    Raises TransientTrainingError when a rank was lost, so that the same call resumes, and TerminalTrainingError where
    it would end in the same way.
    """
    from py4j.protocol import Py4JJavaError
    from pyspark.errors import PySparkException
    from pyspark.ml.torch.distributor import TorchDistributor
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName("jude-train")
    (builder.master("local[1]") if local and SparkSession.getActiveSession() is None else builder).getOrCreate()
    distributor = TorchDistributor(num_processes=ranks, local_mode=local, use_gpu=gpu)
    try:
        facts: dict[str, Any] | None = distributor.run(_rank_that_explains, str(conf), overrides, str(folder), "zero")
    except (RuntimeError, PySparkException, Py4JJavaError) as error:
        raise TransientTrainingError(
            f"Training stopped: {error} The ranks' own words are above. Checkpoints are in {folder}/checkpoints: "
            "the same command goes on from the newest."
        ) from error
    assert facts is not None, "a run that ends without an error says where its adapter is"
    if "refused" in facts:
        raise TerminalTrainingError(facts["refused"])
    return facts
