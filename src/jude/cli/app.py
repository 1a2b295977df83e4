"""Every command with its options; what it does stands in the module of its name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jude.cli.eval import eval_command
from jude.cli.failing import JudeGroup
from jude.cli.model import model
from jude.cli.options import AsJson, Conf, Overrides, settings_of
from jude.cli.train import train

app = typer.Typer(
    cls=JudeGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its help needs 0.2 s more to start
    help="Keep embeddings of job postings, member profiles and resumes fresh as the database changes.",
    epilog="New here? `jude demo` shows everything on real data in four minutes.",
)
stream = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="The job that keeps embeddings fresh.")
quarantine = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Records that could not be applied: look, mend, replay, dismiss."
)
online = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="The store that serves the newest vectors.")
app.add_typer(stream, name="stream")
app.add_typer(quarantine, name="quarantine")
app.add_typer(online, name="online")
app.add_typer(model, name="model")
app.add_typer(train, name="train")


def main() -> None:
    """Run the command line."""
    app()


@app.command("demo")
def demo_command(
    conf: Conf = None,
    overrides: Overrides = None,
    data: Annotated[Path | None, typer.Option("--data", help="Recorded changes; default: data/sample.")] = None,
    folder: Annotated[Path, typer.Option("--folder", help="Where tables and online store go.")] = Path(".jude/demo"),
    keep: Annotated[bool, typer.Option("--keep", help="Keep an older demo: the new one goes beside it.")] = False,
    encoder: Annotated[str | None, typer.Option("--encoder", help="Another model, as eval has it.")] = None,
    grpc: Annotated[bool, typer.Option("--grpc", help="The model runs in an embedding server beside it.")] = False,
) -> None:
    """Stream real changes through the real model, and sum up what happened (under four minutes)."""
    from jude.cli.choosing import with_model
    from jude.cli.demo import run_demo
    from jude.cli.options import PROJECT, find_conf

    given, chosen, changes = with_model(encoder, conf, overrides), find_conf(conf), data or PROJECT / "data/sample"
    if not grpc:
        run_demo(chosen, given, changes, folder, keep=keep)
        return
    from jude.serving.child import serving

    with serving(chosen, given) as server:
        run_demo(chosen, given, changes, folder, keep=keep, server=server.overrides())


@app.command("doctor")
def doctor_command(conf: Conf = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Say what is installed, what is missing, and how to get it."""
    from jude.cli.doctor import examine, show_checks

    show_checks(examine(conf, overrides), as_json=as_json)


@app.command("status")
def status_command(
    conf: Conf = None,
    overrides: Overrides = None,
    last: Annotated[int, typer.Option("--last", min=1, help="How many batches count as recent.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Say what the tables hold, how fresh it is, and which inference was saved why."""
    from jude.cli.place import open_place
    from jude.cli.status import read_status, show_status

    show_status(read_status(open_place(settings_of(conf, overrides)), last), as_json=as_json)


@app.command("search")
def search_command(
    text: Annotated[str, typer.Argument(help="What to look for, in plain words.")],
    entity: Annotated[str | None, typer.Option("--entity", help="job, member, ...; default: each of them.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Results per entity type.")] = 5,
    conf: Conf = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Find the entities whose vectors are closest to a text, exactly."""
    from jude.cli.place import open_place
    from jude.cli.search import search_text, show_results

    show_results(search_text(open_place(settings_of(conf, overrides)), text, entity, k), as_json=as_json)


@app.command("explain")
def explain_command(
    entity: Annotated[str, typer.Argument(help="Entity type: job, member, ...")],
    entity_id: Annotated[str, typer.Argument(metavar="ID", help="Its key in the source database.")],
    conf: Conf = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Tell the history of one entity: each change, what was decided, and where its vector is now."""
    from jude.cli.explain import explain_entity, show_explanation
    from jude.cli.place import open_place

    place = open_place(settings_of(conf, overrides))
    show_explanation(explain_entity(place, entity, entity_id), as_json=as_json)


@app.command("sql")
def sql_command(
    query: Annotated[str, typer.Argument(help='Spark SQL, for example: "select * from embeddings limit 3".')],
    limit: Annotated[int, typer.Option("--limit", min=1, help="Rows shown at most.")] = 50,
    conf: Conf = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Ask the tables in SQL (starts Spark: some seconds)."""
    from jude.cli.sql import run_query, show_rows

    show_rows(run_query(settings_of(conf, overrides), query, limit), as_json=as_json)


@app.command("serve")
def serve_command(
    conf: Conf = None,
    overrides: Overrides = None,
    model: Annotated[str | None, typer.Option("--model", help="A kind, a folder, or models:/jude@champion.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Short for --set serving.port=...")] = None,
) -> None:
    """Serve embeddings over gRPC until stopped (SIGTERM: end what runs; SIGHUP: read the settings again)."""
    from jude.cli.choosing import with_model
    from jude.cli.serve import serve

    given = [*with_model(model, conf, overrides), *([f"serving.port={port}"] if port is not None else [])]
    serve(lambda: settings_of(conf, given), lambda line: typer.echo(line, err=True))


@app.command("embed")
def embed_command(
    text: Annotated[str, typer.Argument(help="What to embed.")],
    entity: Annotated[str, typer.Option("--entity", help="Whose prompt to use: job, member, ...")] = "job",
    target: Annotated[str | None, typer.Option("--server", help="host:port; default: encoder.server.target.")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Exact version or alias; default: current.")] = None,
    conf: Conf = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Ask a running server (`jude serve`) for the vector of a text."""
    from jude.cli.embed import embed_text, show_embedding

    found = embed_text(settings_of(conf, overrides), text, entity, target, model)
    show_embedding(found, as_json=as_json)


app.command("eval")(eval_command)


@quarantine.command("list")
def list_command(conf: Conf = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """List the open records, oldest first."""
    from jude.cli.place import open_place
    from jude.cli.quarantine import read_open, show_list

    show_list(read_open(open_place(settings_of(conf, overrides))), as_json=as_json)


@quarantine.command("show")
def show_command(
    record: Annotated[str, typer.Argument(metavar="ID", help="topic:partition:offset, as the list has it.")],
    conf: Conf = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Show one open record whole, with what is wrong with it (it may hold personal text)."""
    from jude.cli.place import open_place
    from jude.cli.quarantine import find_records, show_record

    for row in find_records(open_place(settings_of(conf, overrides)), record):
        show_record(row, as_json=as_json)


@quarantine.command("replay")
def replay_command(
    records: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Records, as the list has them.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every open record.")] = False,
    conf: Conf = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Feed records back through the stream's own path; doing it twice changes nothing."""
    from jude.cli.place import open_place
    from jude.cli.quarantine import replay, show_replayed

    place = open_place(settings_of(conf, overrides))
    show_replayed(replay(place, records or (), everything=everything), as_json=as_json)


@quarantine.command("dismiss")
def dismiss_command(
    records: Annotated[list[str], typer.Argument(metavar="ID", help="Records, as the list has them.")],
    reason: Annotated[str | None, typer.Option("--reason", help="Why; kept, so no personal text.")] = None,
    conf: Conf = None,
    overrides: Overrides = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Close records that can never be applied; the table keeps them, and who looks there reads why."""
    from jude.cli.place import open_place
    from jude.cli.quarantine import dismiss

    dismiss(open_place(settings_of(conf, overrides)), records, reason, sure=yes)


@stream.command("run")
def run_command(
    conf: Conf = None,
    overrides: Overrides = None,
    available_now: Annotated[bool, typer.Option("--available-now", help="Process what is there, then end.")] = False,
) -> None:
    """Keep embeddings fresh until stopped (Ctrl-C or SIGTERM: finish the batch, commit, end)."""
    from jude.cli.stream import stream_with_progress

    trigger = ["stream.trigger=available_now"] if available_now else []
    stream_with_progress(settings_of(conf, [*(overrides or ()), *trigger]))


@stream.command("status")
def stream_status_command(conf: Conf = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Say whether the stream runs, how far it has read, and how far Kafka is ahead of it."""
    from jude.cli.control import show_stream, stream_now

    show_stream(stream_now(settings_of(conf, overrides)), as_json=as_json)


@stream.command("drain")
def drain_command(
    conf: Conf = None,
    overrides: Overrides = None,
    wait: Annotated[float, typer.Option("--wait", min=1, help="Seconds to wait for the running batch.")] = 120,
) -> None:
    """Ask the running stream to finish its batch and end, and wait until it has."""
    from jude.cli.control import drain_stream

    drain_stream(settings_of(conf, overrides), wait)


@stream.command("reset")
def reset_command(
    conf: Conf = None,
    overrides: Overrides = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Put the checkpoint aside: the next start reads the source from the beginning (nothing is doubled)."""
    from jude.cli.control import reset_stream

    reset_stream(settings_of(conf, overrides), sure=yes)


@online.command("rebuild")
def rebuild_command(conf: Conf = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Fill a lost online store from the tables; safe beside a running stream, and to repeat."""
    from jude.cli.online import rebuild_online, show_rebuilt
    from jude.cli.place import open_place

    show_rebuilt(rebuild_online(open_place(settings_of(conf, overrides))), as_json=as_json)


@online.command("verify")
def verify_command(
    conf: Conf = None,
    overrides: Overrides = None,
    repair: Annotated[bool, typer.Option("--repair", help="Put what is missing or wrong.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare the online store with the tables, row by row; exit code 1 where readers get something wrong."""
    from jude.cli.online import show_verified, verify_online
    from jude.cli.place import open_place

    show_verified(verify_online(open_place(settings_of(conf, overrides)), repair=repair), as_json=as_json)
