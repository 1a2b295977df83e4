"""base.yml <- the file <- --set, and every mistake is a sentence with file, key and a way out."""

from __future__ import annotations

import shutil
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from jude.errors import TerminalSettingsError
from jude.settings import Settings, load_settings

BASE = Path(__file__).parents[2] / "conf" / "base.yml"


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    (tmp_path / "conf").mkdir()
    shutil.copy(BASE, tmp_path / "conf" / "base.yml")
    return tmp_path / "conf"


def load(conf: Path, content: str = "", *overrides: str, **environ: str) -> Settings:
    (conf / "mine.yml").write_text(content)
    return load_settings(conf / "mine.yml", overrides, environ)


def complaint(conf: Path, content: str = "", *overrides: str, **environ: str) -> str:
    with pytest.raises(TerminalSettingsError) as error:
        load(conf, content, *overrides, **environ)
    return str(error.value).replace(str(conf), "CONF")


def test_the_last_layer_wins_and_sections_are_merged(conf: Path) -> None:
    settings = load(conf, "stream: {driver_rows: 5, source_epoch: 2}", "stream.source_epoch=3", "log.level=DEBUG")

    assert (settings.stream.driver_rows, settings.stream.source_epoch, settings.log.level) == (5, 3, "DEBUG")
    assert settings.stream.commit_attempts == 8  # from base.yml


def test_a_file_may_extend_another(conf: Path) -> None:
    (conf / "middle.yml").write_text("log: {level: DEBUG, format: json}")

    settings = load(conf, "extends: middle.yml\nlog: {level: ERROR}")

    assert (settings.log.level, settings.log.format, settings.log.show_ids) == ("ERROR", "json", False)


def test_an_anchor_s_values_may_be_merged_and_replaced(conf: Path) -> None:
    settings = load(conf, "serving: {also: {a: &a {kind: hashing, width: 8}, b: {<<: *a, width: 16}}}")

    assert settings.serving.also["b"] == {"kind": "hashing", "width": 16}


def test_a_later_layer_changes_one_use_of_an_anchor(conf: Path) -> None:
    written = "serving: {also: {a: &a {kind: hashing, width: 8}, b: *a}}"

    settings = load(conf, written, "serving.also={b: {width: 16}}")

    assert settings.serving.also == {"a": {"kind": "hashing", "width": 8}, "b": {"kind": "hashing", "width": 16}}


def test_files_that_extend_each_other_are_refused(conf: Path) -> None:
    (conf / "other.yml").write_text("extends: mine.yml")

    assert complaint(conf, "extends: other.yml") == "CONF/other.yml: extends: mine.yml extends this file already."


def test_overrides_are_yaml(conf: Path) -> None:
    settings = load(
        conf,
        "",
        "stream.drain_after_seconds=2.5",
        "source.max_offsets_per_trigger=null",
        "source.kafka.topics=[a, b]",
        "log.show_ids=true",
        "source.kafka.options.kafka.group.id=5",
        "spark.extra.spark.ui.enabled=true",
    )

    assert settings.stream.drain_after_seconds == 2.5
    assert settings.source.max_offsets_per_trigger is None
    assert settings.source.kafka.topics == ("a", "b")
    assert settings.log.show_ids is True
    assert settings.source.kafka.options == {"kafka.group.id": "5"}
    assert settings.spark.extra == {"spark.ui.enabled": "true"}


def test_a_revision_may_be_a_number(conf: Path) -> None:
    """As docs/operations.md raises it."""
    assert load(conf, "encoder: {revision: 1}").encoder.revision == "1"
    assert load(conf, "encoder: {revision: 1}", "encoder.revision=2").encoder.revision == "2"


def test_relative_paths_belong_to_the_project(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    monkeypatch.setenv("HOME", "/home/me")
    settings = load(conf, "source: {path: changes}\nonline: {path: ~/online.db}", "tables.root=/data/tables")

    assert settings.source.path == conf.parent / "changes"
    assert settings.online.path == Path("/home/me/online.db")
    assert settings.tables.root == "/data/tables"


@pytest.mark.parametrize("uri", ["abfss://c@a.dfs.core.windows.net/t", "dbfs:/jude/tables", "file:/data/tables"])
def test_a_uri_stays_as_it_is(conf: Path, uri: str) -> None:
    assert load(conf, "", f"tables.root={uri}").tables.root == uri


def test_secrets_come_from_the_environment(conf: Path) -> None:
    content = "tables: {storage_options: {aws_secret_access_key: '${KEY}', note: '$${KEY}', both: 'a-${KEY}-${B}'}}"

    options = load(conf, content, KEY="s3cret", B="2").tables.storage_options

    assert options == {"aws_secret_access_key": "s3cret", "note": "${KEY}", "both": "a-s3cret-2"}


def test_a_token_that_no_header_can_carry_is_refused_without_being_told(conf: Path) -> None:
    secret = "a-long-and-secret-token\n"
    for key in ("encoder.server.token=${T}", "serving.tokens=['${T}']"):
        said = complaint(conf, "", key, T=secret)
        assert "string should match pattern '^[!-~]+$'" in said
        assert "secret" not in said
    assert load(conf, "", "encoder.server.token=${T}", T="abc").encoder.server.token == "abc"


def test_every_missing_variable_is_named(conf: Path) -> None:
    assert complaint(conf, "source: {kafka: {topics: [ok, '${T}']}}", "log.level=${L}").splitlines() == [
        "CONF/mine.yml: source.kafka.topics.1: the environment variable T is not set.",
        "--set log.level: log.level: the environment variable L is not set.",
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("stream: {triger: x}", "CONF/mine.yml: there is no key stream.triger. Did you mean trigger?"),
        ("strem: {trigger: x}", "CONF/mine.yml: there is no key strem. Did you mean stream?"),
        ("log: {zzz: 1}", "CONF/mine.yml: there is no key log.zzz. The keys here are level, format, show_ids."),
        ("source: {kafka: {topic: [a]}}", "CONF/mine.yml: there is no key source.kafka.topic. Did you mean topics?"),
        ("stream: {driver_rows: '5'}", "CONF/mine.yml: stream.driver_rows: input should be a valid integer."),
        ("stream: {driver_rows: true}", "CONF/mine.yml: stream.driver_rows: input should be a valid integer."),
        ("stream: {commit_attempts: 0}", "CONF/mine.yml: stream.commit_attempts: input should be greater than 0."),
        ("source: {fail_on_data_loss: 1}", "CONF/mine.yml: source.fail_on_data_loss: input should be a valid boolean."),
        (
            "stream: {trigger: once}",
            "CONF/mine.yml: stream.trigger: input should be 'processing_time' or 'available_now'.",
        ),
        ("stream: 5", "CONF/mine.yml: stream: input should be an object."),
        ("log:", "CONF/mine.yml: log: input should be an object."),
        ("tables: {root: ''}", "CONF/mine.yml: tables.root: the path is empty."),
        ("tables: {buckets: 12}", "CONF/mine.yml: tables: buckets must be a power of two (1, 2, 4, 8, ...), not 12."),
        ("tables: {schema: jude}", "CONF/mine.yml: tables: name either root (a folder) or schema"),
        ("tables: {catalog: main}", "CONF/mine.yml: tables: catalog is given, so schema must be, too."),
        ("tables: {root: null, schema: jude}", "CONF/mine.yml: tables: writer native needs root"),
        ("online: {path: null}", "CONF/mine.yml: online: kind is sqlite, so path must name its file."),
        ("source: {path: null}", "CONF/mine.yml: source: kind is files, so path must name the folder"),
        (
            "source: {kind: kafka}",
            "CONF/mine.yml: source: kind is kafka, so kafka.bootstrap_servers must name a broker",
        ),
        (
            "source: {kind: kafka, kafka: {bootstrap_servers: b, topics: [t], pattern: p}}",
            "CONF/mine.yml: source: kind is kafka, so name either kafka.topics or kafka.pattern, and not both.",
        ),
        ("- a", "CONF/mine.yml must hold keys with values, not a list."),
        ("log: {level: INFO, level: DEBUG}", "the key level stands twice"),
        ("tables: {root: {{ROOT}}}", "a key is a list or a mapping itself"),
        (
            "stream: {source_epoch: 4294967296}",
            "CONF/mine.yml: stream.source_epoch: input should be less than",
        ),
        ("source: {starting_offsets: latest}", "CONF/mine.yml: source: kind is files, which are always read from the"),
        ("tables: {root: null, schema: my-jude, writer: spark}", "CONF/mine.yml: tables.schema: string should match"),
        ("extends: nowhere.yml", "There is no file CONF/nowhere.yml. In CONF there is: base.yml, mine.yml."),
        ("extends: [base.yml]", "CONF/mine.yml: extends: name one file, such as base.yml."),
        ("source: {path: ~nobody-of-this-name/x}", "CONF/mine.yml: source.path: could not determine home directory"),
        ("stream: {driver_rows: 0x_}", "CONF/mine.yml is not YAML: "),
        ("encoder: {revision: 2026-02-30}", "CONF/mine.yml is not YAML: day is out of range"),
        ("tables: {storage_options: {2026-02-03: a}}", "a key is a day: write it in quotes"),
        ("serving: {also: &a {b: *a}}", "CONF/mine.yml is not YAML: an anchor (&) holds itself"),
        ("source: {kafka: {topics: &a [*a]}}", "CONF/mine.yml is not YAML: an anchor (&) holds itself"),
        ("log: " + "[" * 2000, "CONF/mine.yml is not YAML: it is nested too deep"),
        (
            "encoder: {timeout_seconds: .inf}",
            "CONF/mine.yml: encoder.timeout_seconds: input should be a finite number.",
        ),
        (
            "stream: {interval_seconds: .inf}",
            "CONF/mine.yml: stream.interval_seconds: input should be a finite number.",
        ),
    ],
)
def test_a_mistake_is_named(conf: Path, content: str, expected: str) -> None:
    assert expected in complaint(conf, content)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "stream.planner=cogrup",
            "--set stream.planner: stream.planner: input should be 'auto', 'driver' or 'executors'.",
        ),
        ("encoder.kid=x", "--set encoder.kid: there is no key encoder.kid. Did you mean kind?"),
        ("log.level", "--set log.level: write it as section.key=value."),
        ("=5", "--set =5: write it as section.key=value."),
        ("log.level=[", "--set log.level: the value is not YAML"),
        ("tables.buckets=3", "--set tables.buckets: tables: buckets must be a power of two"),
        ("tables.root=~nobody-of-this-name/x", "--set tables.root: tables.root: could not determine home directory"),
        ("tables.buckets=0x_", "--set tables.buckets: the value is not YAML"),
        ("encoder.revision=2026-02-30", "--set encoder.revision: the value is not YAML"),
        ("tables.storage_options={2026-02-03: a}", "--set tables.storage_options: the value is not YAML"),
        ("serving.also=&a {b: *a}", "--set serving.also: the value is not YAML"),
    ],
)
def test_a_wrong_override_is_named(conf: Path, override: str, expected: str) -> None:
    assert complaint(conf, "", override).startswith(expected)


def test_all_mistakes_are_told_at_once(conf: Path) -> None:
    assert complaint(conf, "log: {level: LOUD}\nstream: {driver_rows: no}").count("\n") == 1


def test_a_missing_file_says_which_there_are(conf: Path) -> None:
    with pytest.raises(TerminalSettingsError, match=r"There is no file .*locl\.yml\. In .* there is: base\.yml\."):
        load_settings(conf / "locl.yml")


def test_a_missing_base_is_named(conf: Path) -> None:
    (conf / "base.yml").unlink()

    assert complaint(conf, "").startswith("There is no file CONF/base.yml.")


@pytest.mark.parametrize("root", ["s3://bucket/jude", "s3a://bucket/jude"])
def test_the_native_writer_on_s3_needs_put_if_absent(conf: Path, root: str) -> None:
    assert "overwrite each other's commits" in complaint(conf, "", f"tables.root={root}")

    for option in ("AWS_S3_LOCKING_PROVIDER=dynamodb", "aws_conditional_put=etag", "conditional_put=etag"):
        assert load(conf, "", f"tables.root={root}", f"tables.storage_options.{option}").tables.root == root
    assert load(conf, "", f"tables.root={root}", "tables.writer=spark").tables.writer == "spark"


def test_settings_are_frozen_and_a_copy_is_checked_too(conf: Path) -> None:
    stream = load(conf).stream

    with pytest.raises(FrozenInstanceError):
        stream.driver_rows = 1  # type: ignore[misc]  # mypy refuses it, too
    with pytest.raises(ValidationError):
        replace(stream, driver_rows=0)
    assert replace(stream, driver_rows=1).driver_rows == 1
