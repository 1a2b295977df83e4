"""Every mistake in an entity file is a sentence with file, key and a way out."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from jude.entities import load_entities
from jude.errors import TerminalSettingsError

COMPANY = {
    "name": "company",
    "topic": "jude.public.companies",
    "key": "id",
    "text_fields": [{"name": "title"}, {"name": "text", "label": "About"}],
    "title_field": "title",
}


def write(folder: Path, **files: object) -> Path:
    for name, content in files.items():
        (folder / f"{name}.yml").write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return folder


def complaint(folder: Path) -> str:
    with pytest.raises(TerminalSettingsError) as error:
        load_entities(folder)
    return str(error.value).replace(str(folder), "FOLDER")


def test_a_fourth_entity_is_one_file(tmp_path: Path) -> None:
    entities = load_entities(write(tmp_path, company=COMPANY))

    assert entities.of_topic("jude.public.companies") == entities["company"]
    assert entities["company"].max_text_bytes == 1_000_000


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"title_feild": "x"}, "FOLDER/company.yml: there is no key title_feild. Did you mean title_field?"),
        ({"zzz": 1}, "FOLDER/company.yml: there is no key zzz. The keys here are name, topic, key, text_fields,"),
        (
            {"text_fields": [{"name": "title", "lable": "T"}]},
            "FOLDER/company.yml: there is no key text_fields.0.lable. Did you mean label?",
        ),
        ({"text_fields": [{"name": "title", "kind": "set"}]}, "text_fields.0.kind: input should be 'text' or 'list'."),
        ({"topic": 7}, "FOLDER/company.yml: topic: input should be a valid string."),
        ({"max_text_bytes": "1 MB"}, "FOLDER/company.yml: max_text_bytes: input should be a valid integer."),
        ({"max_text_bytes": 0}, "FOLDER/company.yml: max_text_bytes: input should be greater than 0."),
        ({"text_fields": []}, "text_fields is empty: without a text column there is nothing to embed."),
        ({"text_fields": [{"name": "title"}] * 2}, "text_fields names a column twice: title, title."),
        ({"title_field": "headline"}, "title_field 'headline' is not a text field; these are: title, text."),
        (
            {"volatile": ["ok+", "(open"]},
            "FOLDER/company.yml: volatile: '(open' is not a regular expression: missing )",
        ),
        ({"volatile": ["x*"]}, "volatile: 'x*' also matches the empty text: use + instead of *"),
        ({"name": "Company Page"}, "FOLDER/company.yml: name: string should match pattern"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, change: dict[str, object], expected: str) -> None:
    assert expected in complaint(write(tmp_path, company=COMPANY | change))


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    without = {key: value for key, value in COMPANY.items() if key not in ("text_fields", "topic")}

    assert complaint(write(tmp_path, company=without)).splitlines() == [
        "FOLDER/company.yml: the key topic is missing.",
        "FOLDER/company.yml: the key text_fields is missing.",
    ]


def test_two_entities_cannot_share_a_topic(tmp_path: Path) -> None:
    folder = write(tmp_path, company=COMPANY, firm=COMPANY | {"name": "firm"})

    assert complaint(folder) == (
        "FOLDER/firm.yml: topic: 'jude.public.companies' already belongs to FOLDER/company.yml."
    )


def test_two_entities_cannot_share_a_name(tmp_path: Path) -> None:
    folder = write(tmp_path, company=COMPANY, firm=COMPANY | {"topic": "other"})

    assert complaint(folder) == "FOLDER/firm.yml: name: 'company' already belongs to FOLDER/company.yml."


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("name: [", "FOLDER/company.yml is not YAML"),
        ("- a\n- b", "FOLDER/company.yml must hold keys with values, not a list."),
        ("name: a\nname: b", "the key name stands twice"),
        ("", "FOLDER/company.yml: the key name is missing."),
    ],
)
def test_a_file_that_is_no_entity_is_refused(tmp_path: Path, content: str, expected: str) -> None:
    assert expected in complaint(write(tmp_path, company=content))


def test_an_empty_or_missing_folder_is_refused(tmp_path: Path) -> None:
    assert complaint(tmp_path) == "There is no entity in FOLDER: write one YAML file per entity type there."
    with pytest.raises(TerminalSettingsError, match="There is no entity in"):
        load_entities(tmp_path / "nowhere")
