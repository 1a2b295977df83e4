"""A training run as data: conf/training/*.yml in, frozen and checked settings out. No torch here."""

from __future__ import annotations

import json
from dataclasses import asdict, field
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

_CHECKED: Final = ConfigDict(extra="forbid", strict=True)
_Positive = Annotated[int, Field(gt=0)]
_NotNegative = Annotated[float, Field(ge=0)]
Mask = Literal["causal", "bidirectional"]
_Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, config=_CHECKED)
class ModelSettings:
    """`model`: the base and how it reads."""

    base: str = "all-minilm-l6-v2"  # or a Hugging Face folder
    kind: Literal["two_towers", "cross_encoder"] = "two_towers"  # cross_encoder: a teacher, which reads both texts
    pooling: Literal["mean", "last", "cls", "weighted_mean"] = "mean"
    mask: Mask | None = None  # of a decoder; None: as the base's folder says
    max_tokens: _Positive = 256
    prompts: dict[str, str] = field(default_factory=dict)
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"  # of the frozen base; auto: bfloat16 on CUDA
    device: Literal["auto", "cpu", "cuda"] = "auto"
    checkpointing: Literal["none", "selective", "full"] = "none"
    liger: bool = False


@dataclass(frozen=True, config=_CHECKED)
class LoraSettings:
    """`lora`: low-rank adapters by role (Hu et al., arXiv:2106.09685)."""

    rank: _Positive = 16
    alpha: _Positive = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    roles: Literal["qkv", "all"] = "qkv"
    strength: Annotated[float, Field(gt=0, le=1)] = 1.0  # of the adapter that is written: less of it forgets less


@dataclass(frozen=True, config=_CHECKED)
class VPSettings:
    """`loss.vp`: which V, how much of it, and from which end scores are ranked."""

    form: Literal["score", "uniform", "uniform_mean", "kernel"] = "score"
    tau: _Share = 0.5  # weighs V against the predicates
    orientation: Literal["low", "high", "both"] = "low"  # low: errors at low scores weigh more
    normalise_v: bool = True  # mean diagonal 1 where V is combined with P, whose diagonal is about 1
    scale_predicates: bool = True
    predicates: tuple[str, ...] = ("constant",)
    bandwidth: Annotated[float, Field(gt=0)] | None = None  # of the kernel form; None: the median distance


@dataclass(frozen=True, config=_CHECKED)
class LossSettings:
    """`loss`: how much each term weighs, and its own numbers."""

    bce: _NotNegative = 0.0
    nce: _NotNegative = 1.0
    vp_weight: _NotNegative = 0.0
    kd: _NotNegative = 0.0
    margin: _NotNegative = 0.0
    temperature: Annotated[float, Field(ge=0.01, le=1)] = 0.05
    learn_temperature: bool = False
    symmetric: bool = False
    mask_false_negatives: bool = True
    teacher_temperature: Annotated[float, Field(gt=0)] = 1.0
    head: Literal["cosine", "hadamard_mlp", "joint"] = "cosine"  # joint: a cross-encoder's
    vp: VPSettings = field(default_factory=VPSettings)

    @model_validator(mode="after")
    def _has_a_term(self) -> LossSettings:
        if not any((self.bce, self.nce, self.vp_weight, self.kd, self.margin)):
            raise ValueError("every weight is 0: give bce, nce, vp_weight, kd or margin a weight")
        return self

    @model_validator(mode="after")
    def _has_predicates(self) -> LossSettings:
        if self.vp_weight and self.vp.tau < 1 and not self.vp.predicates:
            raise ValueError("vp.tau is below 1, so vp.predicates must name at least one (constant)")
        return self

    def weights(self) -> dict[str, float]:
        """Name the terms that count, each with its weight."""
        every = {"bce": self.bce, "nce": self.nce, "vp": self.vp_weight, "kd": self.kd, "margin": self.margin}
        return {term: weight for term, weight in every.items() if weight}


@dataclass(frozen=True, config=_CHECKED)
class BatchSettings:
    """`batch`: pairs of one update over all ranks, and how many tokens fit into one forward pass."""

    pairs: Annotated[int, Field(ge=2)] = 64
    chunk_tokens: _Positive = 8192
    kept_tokens: Annotated[int, Field(ge=0)] = 0  # of chunks that keep their states: these are not encoded twice
    hard_negatives: Annotated[int, Field(ge=0)] = 0  # mined ones per query
    mine_every: _Positive = 200  # updates between two minings by the current model
    mining_margin: float = 0.05  # a candidate this much above the positive is taken for an unlabelled positive
    mixing_temperature: Annotated[float, Field(ge=1)] = 1.0  # sources are drawn by size ** (1 / temperature)


@dataclass(frozen=True, config=_CHECKED)
class PhaseSettings:
    """One of `phases`: its pairs, its length, its rates. Optimizer and schedule start anew, weights carry over."""

    name: str
    pairs: str
    updates: _Positive
    scores: str | None = None  # a Delta table of jobs/score_pairs.py: the teacher's, for kd and margin
    teacher: str | None = None  # which of its teacher_versions; None: the only one
    warmup: Annotated[int, Field(ge=0)] = 0
    lr: Annotated[float, Field(gt=0)] = 1e-3
    ratio: Annotated[float, Field(ge=1)] = 32.0
    schedule: Literal["slanted_cosine", "slanted_linear", "cosine"] = "slanted_cosine"
    loss: LossSettings = field(default_factory=LossSettings)

    @model_validator(mode="after")
    def _warms_up_in_time(self) -> PhaseSettings:
        if self.warmup >= self.updates:
            raise ValueError(f"warmup ({self.warmup}) must be below updates ({self.updates})")
        return self


@dataclass(frozen=True, config=_CHECKED)
class RunSettings:
    """`run`: what is logged, saved and when to give up."""

    seed: int = 0
    threads: _Positive | None = None  # cores of one rank; None: the machine's, shared by the ranks
    log_every: _Positive = 10
    save_every: _Positive = 100
    keep_checkpoints: _Positive = 2
    weight_decay: _NotNegative = 0.01
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    most_skipped: _Positive = 5  # non-finite updates in a row before the run stops
    forgetting: _NotNegative = 0.01  # stop when nDCG@10 of the watched set falls by more
    watch_every: _Positive = 100
    watch: str | None = None  # pairs whose nDCG@10 is watched


@dataclass(frozen=True, config=_CHECKED)
class TrainingSettings:
    """A whole run."""

    phases: tuple[PhaseSettings, ...]
    model: ModelSettings = field(default_factory=ModelSettings)
    lora: LoraSettings = field(default_factory=LoraSettings)
    batch: BatchSettings = field(default_factory=BatchSettings)
    run: RunSettings = field(default_factory=RunSettings)

    @model_validator(mode="after")
    def _has_phases(self) -> TrainingSettings:
        names = [phase.name for phase in self.phases]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"phases must be a list of different names, not {names}")
        return self

    @model_validator(mode="after")
    def _cross_encoder_has_no_vectors(self) -> TrainingSettings:
        joint = self.model.kind == "cross_encoder"
        for phase in self.phases:
            if joint != (phase.loss.head == "joint"):
                raise ValueError(f"{phase.name}: loss.head joint and model.kind cross_encoder belong together")
            if joint and (phase.loss.weights().keys() - {"bce", "vp"} or self.batch.hard_negatives or self.run.watch):
                raise ValueError(
                    f"{phase.name}: a cross-encoder has no vectors to compare: only bce and vp, nothing mined, no watch"
                )
        return self

    def as_dict(self) -> dict[str, Any]:
        """Plain data: what a checkpoint and MLflow keep."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain
