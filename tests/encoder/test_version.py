"""What makes a new model version, and what does not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from jude.encoder import EncoderSpec, manifest_of, model_version, open_encoder, open_tokeniser
from jude.encoder.version import InputHasher, file_sha256
from jude.errors import TerminalEnvironmentError, TerminalSettingsError

SPEC = EncoderSpec("hashing", prompts={"job": "a", "member": "b"}, render_versions={"job": "1", "member": "1"})
MINILM = EncoderSpec("all-minilm-l6-v2", prompts={"job": ""}, render_versions={"job": "1"})


def version(spec: EncoderSpec) -> str:
    return model_version(spec.kind, manifest_of(spec))


@pytest.mark.parametrize(
    "change",
    [
        {"max_tokens": 17},
        {"width": 65},
        {"dtype": "bfloat16"},
        {"revision": "2"},
    ],
    ids=str,
)
def test_a_new_version(change: dict) -> None:
    assert version(replace(SPEC, **change)) != version(SPEC)


@pytest.mark.parametrize(
    "change",
    [
        {"batch_tokens": 7},
        {"threads": 1},
        {"prompts": {"member": "c"}},
        {"render_versions": {"job": "2"}},
        {"max_tokens": 256},
    ],
    ids=str,
)
def test_the_same_version(change: dict) -> None:
    assert version(replace(SPEC, **change)) == version(SPEC)


# Entities join a version without changing its name: see tests/release.
@pytest.mark.parametrize("name", sorted(asdict(manifest_of(SPEC)).keys() - {"prompts", "render_versions"}))
def test_every_field_of_the_manifest_counts(name: str) -> None:
    manifest, changed = manifest_of(SPEC), dict[str, Any]({name: "something else"})
    assert model_version("m", replace(manifest, **changed)) != model_version("m", manifest)


def test_the_name_reads_well_and_the_manifest_is_json() -> None:
    manifest = manifest_of(MINILM)
    assert re.fullmatch(r"all-minilm-l6-v2-[0-9a-f]{12}", version(MINILM))
    assert json.loads(manifest.as_json()) == asdict(manifest)
    # The weights as their authors published them.
    assert manifest.weights == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    assert (manifest.max_tokens, manifest.width, manifest.eos_id) == (256, 384, 102)
    assert manifest.tokeniser_library is not None
    assert manifest.tokeniser_library.startswith("tokenizers ")


def test_an_input_hash_tells_version_prompt_and_ids_apart() -> None:
    hashes = [
        InputHasher("v", "p").hash((1, 2)),
        InputHasher("v", "p").hash((1, 2, 0)),
        InputHasher("v", "p").hash((2, 1)),
        InputHasher("v", "").hash((1, 2)),
        InputHasher("vp", "").hash((1, 2)),
        InputHasher("", "vp").hash((1, 2)),
    ]
    assert len(set(hashes)) == len(hashes)
    assert all(re.fullmatch(r"[0-9a-f]{32}", h) for h in hashes)
    assert hashes[0] == InputHasher("v", "p").hash([1, 2])


def test_a_rewritten_file_is_hashed_again(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    before = file_sha256(file)
    file.write_bytes(b"three")
    assert before != file_sha256(file) == "8b5b9db0c13db24256c829aa364aa90c6d2eba318b9232a4ab9313b954d3555f"


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(TerminalSettingsError, match=r"'bert'.*Known: all-minilm-l6-v2, hashing"):
        open_tokeniser(EncoderSpec("bert"))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"width": 128}, "Set encoder.width: 384"), ({"max_tokens": 512}, "3 to 256"), ({"max_tokens": 2}, "3 to 256")],
    ids=str,
)
def test_what_the_model_cannot_do_is_refused(wrong: dict, says: str) -> None:
    with pytest.raises(TerminalSettingsError, match=says):
        open_encoder(replace(MINILM, **wrong))


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jude.encoder.packaged._PACKAGES", {"all-minilm-l6-v2": "no_such_package"})
    from jude.encoder.packaged import find_model

    find_model.cache_clear()
    with pytest.raises(TerminalEnvironmentError, match=r"pip install 'jude\[torch\]'"):
        open_tokeniser(replace(MINILM, threads=3))


def test_without_torch_tokenising_works_and_encoding_says_what_to_install() -> None:
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from jude.encoder import EncoderSpec, open_encoder, open_tokeniser\n"
        "spec = EncoderSpec('all-minilm-l6-v2')\n"
        "print(open_tokeniser(spec).inputs('job', ['nurse'])[0].token_ids)\n"
        "try: open_encoder(spec)\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == [
        "(101, 6821, 102)",
        "TerminalEnvironmentError The package torch is not installed, which makes vectors here. "
        "Install it: pip install 'jude[torch]'.",
    ]
