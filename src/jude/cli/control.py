"""`jude stream status | drain | reset`: the stream seen, and steered, from another terminal."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import typer

from jude.cli.lag import offsets_behind
from jude.cli.show import count_of, near, open_console, print_json
from jude.settings import Settings
from jude.stream.controls import StreamState, drain, reset, state_of
from jude.stream.opening import now


@dataclass(frozen=True, slots=True)
class StreamNow:
    """The stream's own state, and how many records Kafka holds beyond it (None: cannot be told)."""

    state: StreamState
    behind: int | None


def stream_now(settings: Settings) -> StreamNow:
    """Read the checkpoint, and ask the broker. Raises JudeError."""
    state = state_of(settings.stream.checkpoint)
    return StreamNow(state, offsets_behind(settings, state))


def show_stream(stream: StreamNow, *, as_json: bool) -> None:
    """Say it in three lines."""
    state = stream.state
    if as_json:
        print_json({**asdict(state), "behind": stream.behind})
        return
    console = open_console()
    console.print(f"runs as process {state.pid}" if state.pid else "does not run")
    if state.last_batch is None:
        console.print(f"no batch is committed yet under {near(state.checkpoint)}")
        return
    console.print(f"batch {state.last_batch:,} is the last that Spark has noted as done")
    if stream.behind is not None:
        console.print(f"{count_of(stream.behind, 'record')} in Kafka not read yet")


def drain_stream(settings: Settings, wait_seconds: float) -> None:
    """End the stream between two batches. Raises JudeError."""
    pid = drain(settings.stream.checkpoint, wait_seconds)
    open_console().print("No stream runs on this checkpoint." if pid is None else f"Process {pid} ended.")


def reset_stream(settings: Settings, *, sure: bool) -> None:
    """Ask, then put the checkpoint aside. Raises JudeError."""
    where = near(settings.stream.checkpoint)
    question = (
        f"Put {where} aside? The next start reads the source from source.starting_offsets "
        f"({settings.source.starting_offsets}); with `latest`, what comes until then is never read."
    )
    if not sure:
        typer.confirm(question, abort=True)
    aside = reset(settings.stream.checkpoint, now())
    said = f"{where} is not there: nothing to put aside." if aside is None else f"It is now {near(str(aside))}."
    open_console().print(said)
