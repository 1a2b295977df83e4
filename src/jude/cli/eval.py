"""`jude eval`: how good a model is, how sure that is, and whether it is better than another."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from jude.cli.options import AsJson, Conf, Overrides, settings_of

if TYPE_CHECKING:
    from jude.encoder import EncoderSpec
    from jude.evaluation.intervals import Interval
    from jude.evaluation.measured import Line
    from jude.evaluation.report import Report, SetReport
    from jude.evaluation.sets import EvaluationSet

PICTURES: Final = (".png", ".svg")
On = Annotated[
    list[str] | None,
    typer.Option("--on", help="titles, melo, sts, scifact, or a Parquet file of pairs; repeatable; default: all."),
]
Data = Annotated[
    Path | None, typer.Option("--data", help="Folder with rel_melo_onet_esco, sts_benchmark, retrieval_scifact.")
]
MostDocuments = Annotated[
    int | None, typer.Option("--documents", min=1, help="Documents of scifact at most; default: all (minutes).")
]


def eval_command(
    model: Annotated[str | None, typer.Option("--model", help="Default: the encoder of the settings.")] = None,
    against: Annotated[str | None, typer.Option("--against", help="Another model, on the same queries.")] = None,
    on: On = None,
    data: Data = None,
    documents: MostDocuments = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Cut-off of MRR@k and nDCG@k.")] = 10,
    picture: Annotated[Path | None, typer.Option("--picture", help="Draw it: a .png or .svg file.")] = None,
    conf: Conf = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Measure a model by exact search and by judged pairs, with 95% intervals; embeds as the pipeline would.

    A model is all-minilm-l6-v2, the folder of a model or a training run, or models:/jude@challenger.
    """
    from jude.cli.show import print_json
    from jude.errors import TerminalSettingsError
    from jude.evaluation.encoding import encode_by
    from jude.evaluation.picture import draw
    from jude.evaluation.report import measure

    if picture is not None and picture.suffix not in PICTURES:
        raise TerminalSettingsError(f"--picture {picture}: a picture ends in {' or '.join(PICTURES)}.")
    spec, other = spec_of(model, conf, overrides), spec_of(against, conf, overrides) if against else None
    sets = open_named_sets(on, data, documents)
    compared = (against or "", encode_by(other)) if other else None
    found = measure(model or "the settings' encoder", encode_by(spec), sets, against=compared, k=k, say=say)
    if as_json:
        print_json(found.as_dict())
    else:
        show_report(found)
    if picture is not None:
        say(f"drawn: {draw(found, picture)}")


def spec_of(model: str | None, conf: Path | None, overrides: list[str] | None) -> EncoderSpec:
    """Give the encoder that the settings describe, with another model in it where one is named."""
    from jude.cli.choosing import with_model
    from jude.entities import load_entities
    from jude.stream.opening import encoder_spec

    settings = settings_of(conf, with_model(model, conf, overrides))
    return encoder_spec(settings.encoder, load_entities(settings.entities.folder))


def open_named_sets(on: list[str] | None, data: Path | None, documents: int | None = None) -> list[EvaluationSet]:
    """Open the sets, and say which are skipped."""
    from jude.cli.options import PROJECT
    from jude.evaluation.sets import Places, open_sets

    sets, skipped = open_sets(on or (), Places(PROJECT / "data/training", data, documents))
    for sentence in skipped:
        say(sentence)
    return sets


def show_report(report: Report) -> None:
    """Print two tables per set: its metrics, and nDCG@k of its slices; in percent, with 95% intervals."""
    from jude.cli.show import make_table, open_console

    console = open_console()
    for one in report.sets:
        console.print(f"\n{one.name}: {one.about}; in percent, with 95% intervals", style="bold", soft_wrap=True)
        columns = ["", "this model", *(["the other", "difference", "p"] if report.against else [])]
        console.print(make_table(columns, [_row(line) for line in one.lines if _is_told(line)], left=("",)))
        for sentence in _beside(one, report):
            console.print(sentence)


def _is_told(line: Line) -> bool:
    """Of slices one number is enough; the rest is in --json."""
    return not line.slice or line.metric.startswith("ndcg")


def _row(line: Line) -> list[str]:
    row = [line.slice or line.metric.replace("_at_", "@"), percent(line.estimate)]
    if line.gain:
        row += [percent(line.gain.old), percent(line.gain.difference, "+"), _chance(line.gain.p)]
    return [cell.replace(", ", ",") for cell in row]  # "recall@100" and four more columns in 80 characters


def _chance(p: float | None) -> str:
    if p is None:
        return ""
    return "<.001" if p < 0.001 else f"{p:.3f}"


def percent(found: Interval, sign: str = "") -> str:
    """Write an interval in percent."""
    return f"{found.times(100):{sign}.1f}"


def _beside(one: SetReport, report: Report) -> Iterable[str]:
    if slices := [f"{line.slice} ({line.count:,})" for line in one.lines if line.slice and _is_told(line)]:
        yield f"By nDCG: {', '.join(slices)}."
    if report.against:
        yield f"The other is {report.against}. Paired by query; p by random signs."
    if one.overlap is not None:
        yield f"The first documents of both are {one.overlap:.0%} the same."
    if one.published:
        best = [f"{system.split('/')[-1]} {100 * score:.1f}" for system, score in one.published.items()]
        yield f"MRR of others as the benchmark published it: {', '.join(best)}."


def say(sentence: str) -> None:
    """Tell a person what goes on; stdout stays for results."""
    typer.secho(sentence, err=True)
