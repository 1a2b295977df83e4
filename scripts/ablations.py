"""make train-ablations: one change of the training at a time, measured on titles that no pair holds.

Runs that are done are kept in .jude/ablations, so that what was stopped goes on. The last lines are a table: gains are
paired by title, and the slices are titles first posted 90 days or more after the last trained one, and titles of
series that few training pairs have. SmolLM2 takes part where its package is installed (make test-smollm2).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.encoding.texts import smollm2
from jude.evaluation import Interval, bootstrap, paired
from jude.evaluation.slices import slices_of
from jude.evaluation.titles import Retrieval
from jude.training.base import find_base, open_tokeniser
from jude.training.inference import TokenIds, text_encoder
from jude.training.reading import load_training
from jude.training.settings import TrainingSettings
from jude.training.towers import Towers
from jude.training.trainer import Trainer
from scripts.title_lists import mislabelled, title_lists, title_pairs, unseen_titles, whole, write_whole

FOLDER: Final = Path(".jude/ablations")
CONF: Final = Path("conf/training/titles.yml")
MEASURES: Final = ("ndcg_at_10", "mrr_at_10")
SLICES: Final = ("time-shifted", "cold start")
TITLES, MINED, DRAWN = 4000, 2, 2
WRONG: Final = 0.2  # of the lists of `noisy.parquet` call a negative their match


class Variant(NamedTuple):
    overrides: tuple[str, ...]
    against: str  # the variant of which this changes one thing
    trained: bool = True


BCE: Final = ("phases.0.loss.nce=0", "phases.0.loss.bce=1")
BOTH: Final = ("phases.0.loss.bce=1",)
VP: Final = ("phases.0.loss.vp_weight=30",)
NOISY: Final = (f"phases.0.pairs={FOLDER}/noisy.parquet",)
# A decoder costs ten times as much: half the pairs of a batch, half the updates.
DECODER: Final = (f"model.base={FOLDER}/smollm2", "batch.pairs=64", "phases.0.updates=20", "phases.0.warmup=2")
LAST, MEAN = ("model.pooling=last",), ("model.pooling=mean",)
TWO_WAYS: Final = ("model.mask=bidirectional",)
VARIANTS: Final[dict[str, Variant]] = {
    "not trained": Variant((), "InfoNCE", trained=False),
    "InfoNCE": Variant((), "not trained"),
    "InfoNCE, symmetric": Variant(("phases.0.loss.symmetric=true",), "InfoNCE"),
    "BCE": Variant(BCE, "InfoNCE"),
    "BCE + VP": Variant((*BCE, *VP), "BCE"),
    "BCE + InfoNCE": Variant(BOTH, "InfoNCE"),
    "BCE + InfoNCE + VP": Variant((*BOTH, *VP), "BCE + InfoNCE"),
    "BCE + InfoNCE + VP, high": Variant((*BOTH, *VP, "phases.0.loss.vp.orientation=high"), "BCE + InfoNCE"),
    "pooling cls": Variant(("model.pooling=cls",), "InfoNCE"),
    "LoRA on all layers": Variant(("lora.roles=all",), "InfoNCE"),
    "negatives drawn, none mined": Variant((f"phases.0.pairs={FOLDER}/drawn.parquet",), "InfoNCE"),
    "negatives mined again on the way": Variant(("batch.hard_negatives=2", "batch.mine_every=20"), "InfoNCE"),
    "false negatives not masked": Variant(("phases.0.loss.mask_false_negatives=false",), "InfoNCE"),
    "noise: InfoNCE": Variant(NOISY, "InfoNCE"),
    "noise: BCE": Variant((*NOISY, *BCE), "BCE"),
    "noise: BCE + VP": Variant((*NOISY, *BCE, *VP), "noise: BCE"),
    "noise: BCE + InfoNCE": Variant((*NOISY, *BOTH), "BCE + InfoNCE"),
    "noise: BCE + InfoNCE + VP": Variant((*NOISY, *BOTH, *VP), "noise: BCE + InfoNCE"),
    "SmolLM2, not trained": Variant((*DECODER, *MEAN), "SmolLM2: last", trained=False),
    "SmolLM2: last": Variant((*DECODER, *LAST), "SmolLM2, not trained"),
    "SmolLM2: mean": Variant((*DECODER, *MEAN), "SmolLM2: last"),
    "SmolLM2: last, bidirectional": Variant((*DECODER, *LAST, *TWO_WAYS), "SmolLM2: last"),
    "SmolLM2: mean, bidirectional": Variant((*DECODER, *MEAN, *TWO_WAYS), "SmolLM2: mean"),
}

Values = dict[str, NDArray[np.float64]]  # one number a title, by measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", choices=[*VARIANTS], default=[*VARIANTS])
    asked = parser.parse_args()
    make_data()
    collection = unseen_titles()
    found = {}
    for name in asked.only:
        if name.startswith("SmolLM2") and not (FOLDER / "smollm2").exists():
            print(f"  {name} is left out: make test-smollm2 installs its package")
            continue
        found[name] = [measured(name, seed, collection) for seed in asked.seeds]
    show(found, asked.seeds, slices_of(collection, *title_pairs()))


def make_data() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    if not (FOLDER / "noisy.parquet").exists():
        lists = title_lists(TITLES, MINED, DRAWN)
        made: dict[str, pa.Table] = {
            "lists": lists, "drawn": title_lists(TITLES, 0, MINED + DRAWN), "noisy": mislabelled(lists, WRONG)
        }  # fmt: skip
        for name, table in made.items():
            write_whole(table, FOLDER / f"{name}.parquet")
    if not (FOLDER / "smollm2").exists():
        smollm2(FOLDER)


def measured(name: str, seed: int, collection: Retrieval) -> Values:
    """Train and measure, or read what an earlier call measured."""
    kept = FOLDER / f"{''.join(c if c.isalnum() else '-' for c in name)}-{seed}.npz"
    if not kept.exists():
        settings = load_training(CONF, [*VARIANTS[name].overrides, f"run.seed={seed}"])
        trainer = Trainer(settings, FOLDER / "runs" / kept.stem)
        if VARIANTS[name].trained:
            trainer.run()
        values = values_of(trainer.towers, settings, collection)
        with whole(kept) as partial, partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **values)
        print(f"  {name}, seed {seed}: nDCG@10 {np.load(kept)['ndcg_at_10'].mean():.4f}", flush=True)
    with np.load(kept) as held:
        return {measure: held[measure] for measure in MEASURES}


def values_of(towers: Towers, settings: TrainingSettings, collection: Retrieval) -> Values:
    tokeniser = open_tokeniser(find_base(settings.model.base), settings.model)

    def ids(entity_type: str, texts: list[str]) -> list[TokenIds]:
        return [np.asarray(found.token_ids, np.int32) for found in tokeniser.inputs(entity_type, texts)]

    metrics = collection.metrics(text_encoder(towers, ids))
    return {measure: metrics[measure] for measure in MEASURES}


def show(found: dict[str, list[Values]], seeds: Sequence[int], slices: dict[str, NDArray[np.bool_]]) -> None:
    count = len(next(iter(found.values()))[0][MEASURES[0]])
    print(f"\n{count} unseen titles, each averaged over the seeds {list(seeds)}; 95% by bootstrap over titles\n")
    names = [f"gain, {name} ({slices[name].sum()})" for name in SLICES]
    print(f"| | nDCG@10 | against | gain | gain by seed | {' | '.join(names)} | MRR@10 |\n|{'---|' * (6 + len(names))}")
    for name, runs in found.items():
        ndcg, mrr = (np.stack([values[measure] for values in runs]) for measure in MEASURES)
        cells = [name, plain(bootstrap(ndcg.mean(0))), *gains(name, ndcg, found, slices), f"{mrr.mean():.4f}"]
        print(f"| {' | '.join(cells)} |")


def gains(
    name: str, ndcg_ST: NDArray[np.float64], found: dict[str, list[Values]], slices: dict[str, NDArray[np.bool_]]
) -> list[str]:
    """Against the variant that it changes one thing of; empty cells where that one was not asked for."""
    against = VARIANTS[name].against
    if against not in found or not VARIANTS[name].trained:
        return [""] * (3 + len(SLICES))
    old_ST = np.stack([values[MEASURES[0]] for values in found[against]])
    new, old = ndcg_ST.mean(0), old_ST.mean(0)
    by_seed = " ".join(f"{gain:+.4f}" for gain in (ndcg_ST - old_ST).mean(1))
    return [against, str(paired(new, old)), by_seed, *(str(paired(new[slices[s]], old[slices[s]])) for s in SLICES)]


def plain(interval: Interval) -> str:
    return f"{interval.mean:.4f} [{interval.low:.4f}, {interval.high:.4f}]"


if __name__ == "__main__":
    main()
