"""`jude demo`: the cut of the recording, the folder, and one whole run on a small piece of the sample."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from jude.cli.demo import run_demo
from jude.cli.demo.folder import DemoFolder, demo_settings, make_folder
from jude.cli.demo.recording import Recording, cut_recording, restamped, write_file
from jude.cli.show import open_console
from jude.errors import TerminalEnvironmentError, TerminalSourceError
from jude.serving.child import ChildServer
from jude.settings import load_settings
from jude.stream.checkpoint import locked
from tests.encoder.tiny import build
from tests.stories import CONF, entities

pytestmark = pytest.mark.long

SAMPLE = CONF.parent / "data" / "sample"


def line(table: str, entity_id: str, lsn: int, op: str = "u") -> dict[str, Any]:
    value = {"op": op, "after": {"id": entity_id}, "source": {"lsn": lsn, "ts_ms": 1000, "ts_us": 1_000_000}}
    return {"topic": f"jude.public.{table}", "offset": lsn, "timestamp": 1005, "key": {"id": entity_id}, "value": value}


def recorded(folder: Path, **files: list[Any]) -> Path:
    folder.mkdir()
    for name, lines in files.items():
        text = "".join(f"{json.dumps(one)}\n" if isinstance(one, dict) else f"{one}\n" for one in lines)
        (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    return folder


def names(records: list[dict[str, Any]]) -> list[str]:
    return [f"{record['key']['id']}@{record['offset']}" for record in records]


@pytest.fixture
def cut(tmp_path: Path) -> Recording:
    sample = recorded(
        tmp_path / "sample",
        a=[line("jobs", "j1", 1, "c"), line("members", "m1", 2, "r"), "not json", line("jobs", "j1", 3)],
        b=[line("members", "m1", 4), line("jobs", "j2", 5), line("jobs", "j1", 6, "d"), {"topic": "jude.transaction"}],
    )
    return cut_recording(sample, tmp_path / "changes", entities(), hold_back=2)


def test_the_last_records_of_each_table_are_held_back_in_their_order(cut: Recording, tmp_path: Path):
    assert names(cut.live) == ["m1@2", "j2@5", "m1@4", "j1@6"]
    first, second = ((tmp_path / "changes" / name).read_text().splitlines() for name in ("a.jsonl", "b.jsonl"))
    assert (first[0], first[1], len(first)) == (json.dumps(line("jobs", "j1", 1, "c")), "not json", 3)
    assert second == ['{"topic": "jude.transaction"}']
    assert cut.bulk_records == 4


def test_upserts_are_counted_as_the_naive_way_would_embed_them(cut: Recording):
    assert cut.upserts == {"job": 3, "member": 2}


def test_only_the_clocks_are_restamped():
    record = line("jobs", "j1", 7)
    now = restamped(record, 5_000)
    assert (now["timestamp"], now["value"]["source"]) == (5_000, {"lsn": 7, "ts_ms": 5_000, "ts_us": 1_000_000})
    now["timestamp"], now["value"] = record["timestamp"], record["value"]
    assert now == record
    assert restamped({"value": None, "timestamp": 1}, 5) == {"value": None, "timestamp": 5}  # a tombstone


def test_the_cut_of_the_real_sample_loses_nothing(tmp_path: Path):
    cut = cut_recording(SAMPLE, tmp_path / "changes", entities(), hold_back=60)
    written = sum(len(file.read_bytes().splitlines()) for file in (tmp_path / "changes").iterdir())
    recorded_lines = sum(len(gzip.decompress(file.read_bytes()).splitlines()) for file in SAMPLE.glob("*.gz"))
    assert (cut.bulk_records, len(cut.live)) == (written, 180)
    assert written + 180 == recorded_lines


def test_a_folder_without_a_recording_is_a_sentence(tmp_path: Path):
    with pytest.raises(TerminalSourceError, match="no recorded changes"):
        cut_recording(tmp_path, tmp_path / "changes", entities(), hold_back=1)


def test_a_file_beside_its_packed_namesake_loses_no_record(tmp_path: Path):
    sample = recorded(tmp_path / "sample", a=[line("jobs", "j2", 2), line("jobs", "j3", 3)])
    (sample / "a.jsonl").write_text(json.dumps(line("jobs", "j1", 1)) + "\n")
    cut = cut_recording(sample, tmp_path / "changes", entities(), hold_back=1)
    read = [text for file in sorted((tmp_path / "changes").iterdir()) for text in file.read_text().splitlines()]
    assert [json.loads(text)["offset"] for text in read] == [1, 2]
    assert (cut.bulk_records, names(cut.live)) == (2, ["j3@3"])


def test_hidden_files_are_no_recording(tmp_path: Path):
    sample = recorded(tmp_path / "sample", a=[line("jobs", "j1", 1)])
    (sample / "._a.jsonl.gz").write_bytes(b"what a Mac leaves beside a file")
    assert cut_recording(sample, tmp_path / "changes", entities(), hold_back=0).bulk_records == 1


@pytest.mark.parametrize(
    "damage", [lambda packed: packed[:-9], lambda packed: packed[:20] + b"?" * 30, lambda _: b"no"]
)
def test_a_damaged_recording_is_a_sentence(tmp_path: Path, damage: Callable[[bytes], bytes]):
    sample = recorded(tmp_path / "sample", a=[line("jobs", f"j{n}", n) for n in range(99)])
    packed = sample / "a.jsonl.gz"
    packed.write_bytes(damage(packed.read_bytes()))
    with pytest.raises(TerminalSourceError, match=r"a\.jsonl\.gz is damaged or ends early"):
        cut_recording(sample, tmp_path / "changes", entities(), hold_back=1)


def test_an_older_demo_outlives_a_wrong_recording(tmp_path: Path):
    folder, _ = make_folder(tmp_path / "demo", keep=False)
    folder.conf.touch()
    with pytest.raises(TerminalSourceError, match="no recorded changes"):
        run_demo(CONF / "test.yml", [], tmp_path / "tpyo", folder.path, keep=False)
    recorded(folder.changes, a=[line("jobs", "j1", 1)])
    with pytest.raises(TerminalEnvironmentError, match="which the new demo would remove"):
        run_demo(CONF / "test.yml", [], folder.changes, folder.path, keep=False)
    demo_settings(folder, CONF / "test.yml", [])
    with pytest.raises(TerminalEnvironmentError, match=r"demo\.yml lies in .* which the new demo would remove"):
        run_demo(folder.conf, [], SAMPLE, folder.path, keep=False)
    assert sorted(path.name for path in folder.path.iterdir()) == ["changes", "demo.yml"]


def test_an_older_demo_is_removed_and_nothing_else(tmp_path: Path):
    folder, _ = make_folder(tmp_path / "demo", keep=False)
    folder.conf.touch()
    (folder.path / "old").touch()
    again, said = make_folder(tmp_path / "demo", keep=False)
    assert (again, said, list(again.path.iterdir())) == (folder, "an older demo there was removed", [])
    (again.path / "thesis.txt").touch()
    with pytest.raises(TerminalEnvironmentError, match="not a demo: it is not touched"):
        make_folder(tmp_path / "demo", keep=False)
    assert (again.path / "thesis.txt").exists()


def test_an_older_demo_can_be_kept(tmp_path: Path):
    first, _ = make_folder(tmp_path / "demo", keep=True)
    second, _ = make_folder(tmp_path / "demo", keep=True)
    assert (first.path.name, second.path.name) == ("demo", "demo-2")


def test_a_demo_that_still_runs_keeps_its_folder(tmp_path: Path):
    folder = DemoFolder(tmp_path / "demo")
    folder.path.mkdir()
    folder.conf.touch()
    with locked(str(folder.checkpoint)), pytest.raises(TerminalEnvironmentError, match="already streams"):
        make_folder(folder.path, keep=False)
    assert folder.conf.exists()


def test_the_settings_that_are_left_behind_need_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder, _ = make_folder(tmp_path / "a folder: with # signs", keep=False)
    given = ["encoder.width=16", "encoder.adapter=adapters/a", "encoder.revision=${JUDE_REVISION}"]
    monkeypatch.setenv("JUDE_REVISION", "r1")
    demo_settings(folder, CONF / "test.yml", given, server=["encoder.kind=grpc"])
    assert "${JUDE_REVISION}" in folder.conf.read_text(), "what the environment keeps stays there"
    settings = load_settings(folder.conf)
    assert (settings.tables.root, settings.encoder.width) == (str(folder.path / "tables"), 16)
    assert (settings.encoder.kind, settings.encoder.revision) == ("hashing", "r1")
    assert settings.encoder.adapter == CONF.parent / "adapters/a", "relative to the project, not to the demo"
    assert settings.models.store == load_settings(CONF / "test.yml").models.store
    assert settings.entities.folder == CONF / "entities"
    assert settings.source.path == folder.changes


def test_a_demo_of_another_model_runs_beside_a_server_of_it(tmp_path: Path):
    folder, _ = make_folder(tmp_path / "demo", keep=False)
    server = ChildServer("127.0.0.1:50051", cast(Any, None)).overrides()
    model = ["encoder.kind=folder", f"encoder.path={tmp_path}"]
    settings = demo_settings(folder, CONF / "test.yml", model, server)
    assert (settings.encoder.kind, settings.encoder.server.target) == ("grpc", "127.0.0.1:50051")
    assert load_settings(folder.conf).encoder.path == tmp_path, "what the demo leaves behind needs no server"


def test_a_demo_publishes_nothing_and_takes_no_port(tmp_path: Path):
    """Else the sample's changes would go into the topic that the consumers of a deployment follow."""
    conf = tmp_path / "conf" / "live.yml"
    conf.parent.mkdir()
    conf.write_text(
        f"extends: {CONF / 'local.yml'}\n"
        "output: {kind: kafka, bootstrap_servers: 'b:9092'}\nmetrics: {port: 9464}\n"
        "source: {kind: kafka, starting_offsets: latest, kafka: {bootstrap_servers: 'b:9092', topics: [t]}}\n"
        f"entities: {{folder: {CONF / 'entities'}}}\n"
    )
    folder, _ = make_folder(tmp_path / "demo", keep=False)
    settings = demo_settings(folder, conf, [])
    assert (settings.output.kind, settings.metrics.port, settings.source.starting_offsets) == ("none", None, "earliest")


def test_a_file_appears_whole(tmp_path: Path):
    write_file(tmp_path, "live-0001.jsonl", [line("jobs", "j1", 1), line("jobs", "j2", 2)])
    assert [file.name for file in tmp_path.iterdir()] == ["live-0001.jsonl"]
    assert len((tmp_path / "live-0001.jsonl").read_text().splitlines()) == 2


def test_a_pipe_gets_no_colour(capsys: pytest.CaptureFixture[str]):
    open_console().print("JUDE", style="bold red")
    assert capsys.readouterr().out == "JUDE\n"


@pytest.mark.spark
def test_the_whole_demo_on_a_piece_of_the_sample(tmp_path: Path):
    """A process of its own: it starts and stops its own Spark."""
    piece = tmp_path / "piece"
    piece.mkdir()
    for name in ("0001-snapshot.jsonl.gz", "0012-changes.jsonl.gz"):
        (piece / name).write_bytes((SAMPLE / name).read_bytes())
    model = build("bert", tmp_path / "piece" / "model")
    demo = jude("demo", "--conf", str(CONF / "test.yml"), "--data", str(piece), "--encoder", str(model), cwd=tmp_path)
    assert "Traceback" not in demo.stdout + demo.stderr
    assert demo.returncode == 0, demo.stderr
    printed = " ".join(demo.stdout.split())
    assert "Spark runs and the model bert-" in printed  # it is the model that was named
    assert "Everything goes into .jude/demo (a fresh folder)." in printed
    assert "118/118" in printed
    assert "137/137 in " in printed
    assert "Freshness of the live part" in printed
    assert "estimated from the measured" in printed
    assert "composed" not in printed  # this is not the project's own sample
    assert "jude status --conf .jude/demo/demo.yml" in printed
    assert "--set" not in printed
    asked = jude("search", "nurse", "--json", "--conf", ".jude/demo/demo.yml", cwd=tmp_path)
    assert asked.returncode == 0, "the file names the model, too"
    status = json.loads(jude("status", "--json", "--conf", ".jude/demo/demo.yml", cwd=tmp_path).stdout)
    assert status["source"] == "read to its end"
    assert sum(entity["counts"]["events_in"] + entity["counts"]["control"] for entity in status["entities"]) == 255
    assert sorted(path.name for path in tmp_path.iterdir()) == [".jude", "piece"]


def jude(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(CONF.parent / "src"), "COLUMNS": "80"}
    command = [sys.executable, "-m", "jude.cli", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=280, check=False)
