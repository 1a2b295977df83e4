"""make train-ablations: one change of the training at a time, measured on titles that no pair holds.

Runs that are done are kept in .jude/ablations, so that what was stopped goes on. The last lines are a table.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from jude.evaluation import Interval, bootstrap, paired
from jude.evaluation.titles import Retrieval
from jude.training.base import find_base, open_tokeniser
from jude.training.inference import TokenIds, text_encoder
from jude.training.reading import load_training
from jude.training.settings import TrainingSettings
from jude.training.towers import Towers
from jude.training.trainer import Trainer
from scripts.title_lists import title_lists, unseen_titles

FOLDER: Final = Path(".jude/ablations")
CONF: Final = Path("conf/training/titles.yml")
MEASURES: Final = ("ndcg_at_10", "mrr_at_10")
TITLES, MINED, DRAWN = 4000, 2, 2
FIRST: Final = "InfoNCE"
VARIANTS: Final[dict[str, tuple[str, ...]]] = {
    FIRST: (),
    "BCE": ("phases.0.loss.nce=0", "phases.0.loss.bce=1"),
    "BCE + InfoNCE": ("phases.0.loss.bce=1",),
    "BCE + InfoNCE + VP": ("phases.0.loss.bce=1", "phases.0.loss.vp_weight=30"),
    "InfoNCE, symmetric": ("phases.0.loss.symmetric=true",),
    "pooling cls": ("model.pooling=cls",),
    "LoRA on all layers": ("lora.roles=all",),
    "mined hard negatives": ("batch.hard_negatives=2", "batch.mine_every=20"),
    "false negatives not masked": ("phases.0.loss.mask_false_negatives=false",),
}

Values = dict[str, NDArray[np.float64]]  # one number a title, by measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", choices=[*VARIANTS], default=[*VARIANTS])
    asked = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    if not (FOLDER / "lists.parquet").exists():
        pq.write_table(title_lists(TITLES, MINED, DRAWN), FOLDER / "lists.parquet")
    collection = unseen_titles()
    found = {name: mean_of([measured(name, seed, collection) for seed in asked.seeds]) for name in asked.only}
    show(found, base_values(collection), asked.seeds)


def measured(name: str, seed: int, collection: Retrieval) -> Values:
    """Train and measure, or read what an earlier call measured."""
    kept = FOLDER / f"{name.replace(' ', '-')}-{seed}.npz"
    if not kept.exists():
        settings = load_training(CONF, [*VARIANTS[name], f"run.seed={seed}"])
        trainer = Trainer(settings, FOLDER / "runs" / kept.stem)
        trainer.run()
        np.savez(kept, **values_of(trainer.towers, settings, collection))
        print(f"  {name}, seed {seed}: nDCG@10 {np.load(kept)['ndcg_at_10'].mean():.4f}", flush=True)
    with np.load(kept) as held:
        return {measure: held[measure] for measure in MEASURES}


def values_of(towers: Towers, settings: TrainingSettings, collection: Retrieval) -> Values:
    tokeniser = open_tokeniser(find_base(settings.model.base), settings.model)

    def ids(entity_type: str, texts: list[str]) -> list[TokenIds]:
        return [np.asarray(found.token_ids, np.int32) for found in tokeniser.inputs(entity_type, texts)]

    metrics = collection.metrics(text_encoder(towers, ids))
    return {measure: metrics[measure] for measure in MEASURES}


def base_values(collection: Retrieval) -> Values:
    settings = load_training(CONF)
    return values_of(Trainer(settings, FOLDER / "runs" / "base").towers, settings, collection)


def mean_of(runs: list[Values]) -> Values:
    """Average each title over the seeds."""
    return {measure: np.mean([values[measure] for values in runs], axis=0) for measure in MEASURES}


def show(found: dict[str, Values], base: Values, seeds: list[int]) -> None:
    against = found.get(FIRST, base)
    print(f"\n{len(base[MEASURES[0]])} unseen titles; seeds {seeds}, each title averaged over them; 95% by title\n")
    print(f"| | nDCG@10 | against {FIRST} | MRR@10 |\n|---|---|---|---|")
    for name, values in {"base, not trained": base, **found}.items():
        ndcg, mrr = (bootstrap(values[measure]) for measure in MEASURES)
        print(f"| {name} | {plain(ndcg)} | {paired(values[MEASURES[0]], against[MEASURES[0]])} | {plain(mrr)} |")


def plain(interval: Interval) -> str:
    return f"{interval.mean:.4f} [{interval.low:.4f}, {interval.high:.4f}]"


if __name__ == "__main__":
    main()
