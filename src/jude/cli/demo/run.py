"""The demo from start to end: one Spark session, two queries on one checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from jude.changes.sources import read_changes
from jude.cli.demo.folder import demo_settings, make_folder
from jude.cli.demo.live import RECORDS_PER_FILE, SECONDS_BETWEEN_FILES, stream_live
from jude.cli.demo.progress import ReplayProgress, Tally
from jude.cli.demo.recording import Recording, cut_recording, recorded_files
from jude.cli.demo.summary import Told, show_summary
from jude.cli.failing import hush_spark, sentence_of
from jude.cli.options import PROJECT
from jude.cli.show import near, open_console
from jude.entities import load_entities
from jude.errors import TerminalEnvironmentError, TerminalError
from jude.observe import configure_logs, duration
from jude.settings import Settings, load_settings
from jude.stream.checkpoint import locked
from jude.stream.drain import Drain, wait_for
from jude.stream.opening import open_pipeline
from jude.stream.pipeline import Pipeline
from jude.stream.query import stream_embeddings
from jude.stream.run import start_spark

if TYPE_CHECKING:
    from rich.console import Console

HELD_BACK: Final = 60
"""Records of each table that are kept for the live part: 180 of the sample, 12 seconds."""


@dataclass(frozen=True, slots=True)
class _Stage:
    """What both parts of the demo work with."""

    console: Console
    settings: Settings
    spark: SparkSession
    pipeline: Pipeline
    recording: Recording


def run_demo(
    conf: Path, overrides: Sequence[str], sample: Path, wanted: Path, *, keep: bool, server: Sequence[str] = ()
) -> None:
    """Replay, go live, sum up. `server`: overrides for a server that ends with the demo, so that no advice names it.

    Raises JudeError, and KeyboardInterrupt after Ctrl-C once the running batch is done.
    """
    began = monotonic()
    entities = load_entities(load_settings(conf, overrides).entities.folder)  # mistakes first, before anything is made
    recorded_files(sample)
    for given in () if keep else (conf, sample):
        if given.resolve().is_relative_to(wanted.resolve()):
            raise TerminalEnvironmentError(
                f"{near(given)} lies in {near(wanted)}, which the new demo would remove: name another, or give --keep."
            )
    console = open_console()
    folder, said = make_folder(wanted, keep=keep)
    settings = demo_settings(folder, conf, overrides, server)
    configure_logs(level=settings.log.level)
    hush_spark()
    console.print("JUDE demo: real database changes in, fresh embeddings out.", style="bold")
    console.print(f"Everything goes into {near(folder.path)} ({said}).")
    recording = cut_recording(sample, folder.changes, entities, HELD_BACK)
    with _opened(console, settings, recording) as stage:
        told = _both_parts(stage)
        console.print()
        show_summary(console, folder, stage.pipeline, told, shipped=sample == PROJECT / "data/sample")
    console.print(f"\nThe demo took {duration(monotonic() - began)}.")


@contextmanager
def _opened(console: Console, settings: Settings, recording: Recording) -> Iterator[_Stage]:
    """Start Spark, the model and the stores, and close them whatever happens."""
    with locked(settings.stream.checkpoint):
        began = monotonic()
        with console.status("starting Spark and loading the model"):
            spark = start_spark(settings)
            try:
                pipeline = open_pipeline(settings, spark)
            except BaseException:
                spark.stop()
                raise
        console.print(f"Spark runs and the model {pipeline.model_version} is loaded ({duration(monotonic() - began)}).")
        try:
            yield _Stage(console, settings, spark, pipeline, recording)
        except PySparkException as error:
            raise TerminalError(f"The demo's stream ended: {sentence_of(error)}") from error
        finally:
            pipeline.online.close()
            spark.stop()


def _both_parts(stage: _Stage) -> Told:
    replay, live = stage.recording.bulk_records, stage.recording.live
    stage.console.print(f"\n1. Replaying {replay:,} recorded records in bulk.", style="bold")
    bulk = _replay(stage)
    seconds = len(live) / RECORDS_PER_FILE * SECONDS_BETWEEN_FILES
    stage.console.print(f"\n2. The last {len(live)} records, live for {seconds:.0f} seconds.", style="bold")
    stage.console.print(
        f"They arrive in files of {RECORDS_PER_FILE}, every {SECONDS_BETWEEN_FILES} s, while the stream runs. "
        "Restamped with the time of now: source.ts_ms (the commit time) and the record's timestamp, so that "
        "freshness is real. Positions, keys and texts are as recorded."
    )
    with stage.console.status("waiting for changes") as status:

        def show(tally: Tally) -> None:
            p95 = duration(tally.freshness.percentile(0.95))
            status.update(f"{tally.records}/{len(live)}  {tally.counts.inferences} embedded  fresh p95 {p95}")

        live_tally, stopped = stream_live(stage.spark, stage.settings, stage.pipeline, live, show)
    if stopped:
        raise KeyboardInterrupt
    _show_live(stage.console, live_tally, len(live))
    return Told(bulk, live_tally, stage.recording)


def _replay(stage: _Stage) -> Tally:
    """Stream what is there through the pipeline. Raises KeyboardInterrupt when a person stopped it."""
    drain = Drain()
    drain.on_sigterm(stage.spark)
    changes = read_changes(stage.spark, stage.settings.source)
    with ReplayProgress(stage.console, stage.recording.bulk_records) as progress:
        query = stream_embeddings(changes, stage.pipeline, stage.settings, drain, progress)
        wait_for(query, drain)
    if drain.asked:
        raise KeyboardInterrupt
    return progress.tally


def _show_live(console: Console, tally: Tally, total: int) -> None:
    counts = tally.counts
    console.print(
        f"{tally.records}/{total} in {tally.batches} micro-batches: {counts.changed + counts.deleted} made a "
        f"difference, {counts.inferences} embedded"
    )
    if tally.records < total:
        console.print("Not all of them were through in time: this machine is very busy.", style="yellow")
