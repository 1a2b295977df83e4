"""Builds the sample data that the repository ships, from a folder of recorded histories. Same input, same bytes.

python -m scripts.build_sample_data --shared FOLDER --out data/sample --seed 7
python -m scripts.build_sample_data --shared FOLDER --out data/sample-companies --seed 7 --set companies
"""

from __future__ import annotations

import argparse
import gzip
import heapq
import json
import random
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Final

from scripts import composed_resumes, histories, usajobs
from scripts.debezium_recorder import Record, Recorder
from scripts.row_changes import JOBS, Row, Table, Transaction, epoch_ms, split_at
from scripts.sample_report import Readme, companies_readme, sample_readme

_FIRST_SNAPSHOT: Final = "2018-05-30T00:00:00Z"
_BULK_LOAD_DAY: Final = "2025-09-01"
_END: Final = "2026-07-01T00:00:00Z"
_MEMBERS: Final = 270
_VACANCIES: Final = {"singles": 110, "groups": 25}
_RESUMES: Final = 175
_RESUME_EDITS: Final = 1400
_COMPANIES: Final = 60
_RECORDS_PER_FILE: Final = 700


def main(argv: Sequence[str] | None = None) -> None:
    """Write one set of sample files, its README and its attribution."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--shared", type=Path, required=True, help="folder with the recorded histories")
    parser.add_argument("--out", type=Path, required=True, help="folder to write; its *.jsonl.gz files are replaced")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--set", choices=("sample", "companies"), default="sample", dest="which")
    arguments = parser.parse_args(argv)
    build = build_companies if arguments.which == "companies" else build_sample
    for path, records in build(arguments.shared, arguments.out, arguments.seed).items():
        print(f"{path}: {records} records, {path.stat().st_size} bytes")


def build_sample(shared: Path, out: Path, seed: int) -> dict[Path, int]:
    """Write jobs, members and resumes. Answer: records per written file."""
    recorder = Recorder(seed, heartbeat_every=250, marked_from_changes=2)
    begin_ms, end_ms, load_ms = epoch_ms(_FIRST_SNAPSHOT), epoch_ms(_END), epoch_ms(_BULK_LOAD_DAY + "T06:00:00Z")
    tts_rows, tts = split_at(histories.tts(shared), begin_ms)
    member_rows, members = split_at(_some(histories.members(shared), seed, begin_ms, _MEMBERS), begin_ms)
    resume_history = composed_resumes.compose(shared, seed, begin_ms, end_ms, _RESUMES, _RESUME_EDITS)
    resume_rows, resumes = split_at(resume_history, begin_ms)
    forms = usajobs.choose_forms(shared, seed, **_VACANCIES)
    vacancies = usajobs.openings(forms, _BULK_LOAD_DAY), usajobs.closings(forms, _BULK_LOAD_DAY)
    changes = list(_merged(tts, members, resumes, *vacancies))
    before = [transaction for transaction in changes if transaction.at_ms <= load_ms]
    after = [transaction for transaction in changes if load_ms < transaction.at_ms < end_ms]

    parts = [("snapshot", list(recorder.snapshot([*tts_rows, *member_rows, *resume_rows], begin_ms)))]
    parts += _cut("changes", recorder.stream(before))
    loaded = usajobs.opened_before(forms, _BULK_LOAD_DAY)
    parts.append(("snapshot-of-jobs", list(recorder.snapshot(_second_snapshot(recorder, loaded), load_ms))))
    parts += _cut("changes", recorder.stream(after))
    return _write(out, parts, sample_readme)


def build_companies(shared: Path, out: Path, seed: int) -> dict[Path, int]:
    """Write a small fourth entity: all changes of some companies. Answer: records per written file."""
    recorder = Recorder(seed, heartbeat_every=100, marked_from_changes=2)
    begin_ms = epoch_ms("2018-01-01T00:00:00Z")
    rows, changes = split_at(_some(histories.companies(shared), seed, begin_ms, _COMPANIES), begin_ms)
    parts = [("snapshot", list(recorder.snapshot(rows, begin_ms))), *_cut("changes", recorder.stream(changes))]
    return _write(out, parts, companies_readme)


def _some(history: Iterable[Transaction], seed: int, begin_ms: int, keys: int) -> Iterator[Transaction]:
    """The full histories of a random choice of `keys` keys, of those that live at `begin_ms` or change later."""
    transactions = list(history)
    rows, later = split_at(transactions, begin_ms)
    seen = {row["id"] for _, row in rows} | {change.key for transaction in later for change in transaction.changes}
    chosen = set(random.Random(seed).sample(sorted(seen), keys))
    for transaction in transactions:
        changes = tuple(change for change in transaction.changes if change.key in chosen)
        if changes:
            yield Transaction(transaction.at_ms, changes)


def _merged(*streams: Iterable[Transaction]) -> Iterator[Transaction]:
    """All transactions by commit time; at one time in the order of the streams."""
    return heapq.merge(*streams, key=attrgetter("at_ms"))


def _second_snapshot(recorder: Recorder, loaded: Sequence[Row]) -> list[tuple[Table, Row]]:
    """All rows of jobs: those that the stream left, as they were, and those that a bulk load put beside them."""
    rows = sorted([*recorder.live_rows(JOBS), *loaded], key=lambda row: row["id"])
    return [(JOBS, row) for row in rows]


def _cut(name: str, records: Iterator[Record]) -> list[tuple[str, list[Record]]]:
    parts = []
    while part := list(islice(records, _RECORDS_PER_FILE)):
        parts.append((name, part))
    return parts


def _write(out: Path, parts: list[tuple[str, list[Record]]], readme: Readme) -> dict[Path, int]:
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("*.jsonl.gz"):
        old.unlink()
    written = {}
    for number, (name, records) in enumerate(parts, start=1):
        path = out / f"{number:04d}-{name}.jsonl.gz"
        lines = (json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n" for record in records)
        # Neither time nor file name goes into the gzip header: the bytes depend on the records only.
        path.write_bytes(gzip.compress("".join(lines).encode("utf-8", "surrogatepass"), compresslevel=9, mtime=0))
        written[path] = len(records)
    for file_name, text in readme([record for _, records in parts for record in records], written).items():
        (out / file_name).write_text(text, encoding="utf-8")
    return written


if __name__ == "__main__":
    main()
