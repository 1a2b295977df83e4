"""Every step of the pipeline benchmark on tiny inputs, through the real job, in the Spark session of the tests."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import orjson
import pytest
from pyspark.sql import SparkSession

from benchmarks import pipeline
from benchmarks.job import bulk, live, model_share, run
from benchmarks.job.live import measured_triggers
from benchmarks.job.run import Result, profile
from benchmarks.measuring.processes import memory, processor

pytestmark = pytest.mark.long


@pytest.fixture
def here(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run jobs in this process: starting Spark for each would take most of the time."""

    def run_here(folder: Path, overrides: Mapping[str, object], events: int = 0) -> Result:
        sets = [part for o in run.overrides_of(folder, overrides) for part in ("--set", o)]
        run.main([str(run.CONF), str(folder / "result.json"), "--events", str(events), *sets])
        return dict(orjson.loads((folder / "result.json").read_bytes()))

    for module in (bulk, live, model_share):
        monkeypatch.setattr(module, "spawn", run_here)
    monkeypatch.setattr(model_share, "_spawn_bare", model_share.bare_loop)


def last_line(argv: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    pipeline.main(argv)
    return dict(json.loads(capsys.readouterr().out.splitlines()[-1]))


@pytest.mark.spark
@pytest.mark.usefixtures("here")
def test_bulk_and_scale_and_their_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    few = ["--shared", str(tmp_path), "--events", "60", "--copies", "2", "--repeats", "1", "--scale", "2"]
    found = last_line(["bulk", "scale", *few], capsys)
    assert sorted(found) == ["events_per_second", "events_per_second_with_spark_start", "time_per_event_ratio_2x"]
    assert all(value > 0 for value in found.values())


@pytest.mark.spark
@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("writer", ["native", "spark"])
def test_live(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, writer: str):
    monkeypatch.setattr(live, "ENTITIES", 50)
    monkeypatch.setattr(live, "WARM_UP", {"native": 1, "spark": 1})
    many = {"native": "100", "spark": "0"}[writer]
    few = ["--shared", str(tmp_path), "--writer", writer, "--many", many, "--buckets", "4", "--batches", "2"]
    found = last_line(["live", *few], capsys)
    expected = {
        "native": ["batch_p50_ratio_100", "batch_p50_seconds", "batch_p95_seconds"],
        "spark": ["spark_batch_p50_seconds", "spark_batch_p95_seconds"],
    }
    assert sorted(found) == expected[writer]
    assert all(value > 0 for value in found.values())


@pytest.mark.spark
@pytest.mark.usefixtures("here")
def test_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    found = last_line(["model", "--shared", str(tmp_path), "--texts", "3", "--model-repeats", "1"], capsys)
    assert list(found) == ["model_throughput_share"]
    assert found["model_throughput_share"] > 0


def test_a_job_that_fails_is_no_measurement(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    with pytest.raises(subprocess.CalledProcessError):
        run.spawn(tmp_path, {"no.such": 1})
    assert "no" in capfd.readouterr().err


def test_a_stream_cut_otherwise_is_no_measurement():
    result = {"triggers_ms": [{"triggerExecution": 10}] * 3, "inferences": 60}
    assert measured_triggers(result, batches=3, warm_up=1) == [10.0, 10.0]
    with pytest.raises(RuntimeError, match="3 triggers with 60 inferences were run, 4 with 20 each were wanted"):
        measured_triggers(result, batches=4, warm_up=1)


def test_growth_is_seen_past_the_cold_start():
    triggers = [{"triggerExecution": ms} for ms in (9000, 400, 100, 100, 120, 120, 150, 150, 7)]
    assert bulk.late_over_early({"triggers_ms": triggers}) == 1.5
    assert bulk.late_over_early({"triggers_ms": triggers[:5]}) is None


def test_the_profile_names_the_dearest_part_first():
    result = {"triggers_ms": [{"a": 1, "b": 30}], "stages_seconds": [{"plan": 0.002, "store": 0.01, "tiny": 0.0001}]}
    assert profile(result) == "    trigger: b 30, a 1\n    batch:   store 10, plan 2"


def test_memory_and_processor_time_are_those_of_this_process():
    before = processor()
    sum(range(3_000_000))
    assert processor().since(before).python > 0
    assert memory().python > 10
