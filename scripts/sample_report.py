"""The README and the ATTRIBUTION that stand beside shipped sample data, with counts taken from the records."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from scripts.debezium_recorder import PLACEHOLDER, Record
from scripts.row_changes import Row

TEXT_COLUMNS: Final = {
    "jobs": ("title", "organisation", "location", "description"),
    "members": ("headline", "experience"),
    "resumes": ("title", "summary", "skills", "experience"),
    "companies": ("name", "description", "region"),
}
"""The columns that make the text of an entity, as the entity configurations name them."""

OPS: Final = ("r", "c", "u", "d", "tombstone")

_SAMPLE_ABOUT: Final = """\
# Sample data: job postings, member profiles and resumes as a change stream

Debezium records as Kafka would hold them, one JSON object per line, files in name order. They begin with a snapshot of
three tables, go on with the changes in the order of time, hold a second snapshot of `jobs` (a bulk load of vacancies
on 2025-09-01, the postings already known come again unchanged) and then more changes.

| what | where from | how real |
|---|---|---|
| `jobs`, readable keys | US Technology Transformation Services, 2018 to 2024 | real; a renamed file is a key change |
| `jobs`, keys `us...` | questionnaires of USAJOBS vacancies, 2025 | real texts, some of them identical |
| `members` | profiles of 270 members of the US Congress, 2018 to 2026 | real rows and edits |
| `resumes` | **composed** from O*NET titles, tasks, technologies and tools | no person; composed edits |

What a database log and Debezium add (lsn, txId, partitions, offsets, the order of overlapping transactions, the
milliseconds) is simulated with a seed. Long texts (above 2,000 bytes) that an update leaves alone come as
`__debezium_unavailable_value`. Control records are heartbeats, and BEGIN and END of transactions with several changes.

Built by `python -m scripts.build_sample_data`; the same input and seed give the same bytes.
"""

_COMPANIES_ABOUT: Final = """\
# Sample data of a fourth entity: company profiles

All changes of 60 companies that hire remotely (real rows, real edits, two site migrations among them), as Debezium
records like those of `data/sample`. Tests use them to add an entity by configuration alone.

Built by `python -m scripts.build_sample_data --set companies`; the same input and seed give the same bytes.
"""

_SAMPLE_ATTRIBUTION: Final = """\
Sources, licences and attribution of the files in this folder

TTS postings (topic jude.public.jobs, readable keys)
  Source: 18F/join.tts.gsa.gov on GitHub, head 5dfa66db0f (2024-09-26), pages/positions and positions.
  Licence: public domain in the United States, CC0 1.0 worldwide (LICENSE.md of the source).
  Changed: front matter reduced to columns; names and addresses of contact persons hashed, e-mails and phones replaced.

Vacancy texts (topic jude.public.jobs, keys us...)
  Source: abigailhaddad/usajobs_historical on GitHub, commit 94a310f80e (2026-08-22), questionnaires.
  Licence: the texts are works of the US government (public domain); the repository is MIT.
  Changed: a small choice, cut at 5,000 characters, e-mails and phones replaced.

Member profiles (topic jude.public.members)
  Source: unitedstates/congress-legislators on GitHub, head dfa9622263 (2026-06-15), legislators-current.yaml.
  Licence: CC0 1.0.
  Changed: a choice of officials; birth date, gender and family left out; terms of office written as lines of text.

Resumes (topic jude.public.resumes): composed, no real persons
  This data includes information from the O*NET 27.0 Database by the U.S. Department of Labor, Employment and Training
  Administration (USDOL/ETA), used under the CC BY 4.0 license (https://creativecommons.org/licenses/by/4.0/).
  O*NET(R) is a trademark of USDOL/ETA. Modified here: titles, tasks, technologies, tools and first sentences of
  descriptions were combined at random into composed resumes. USDOL/ETA has not approved, endorsed, or tested these
  modifications.
"""

_COMPANIES_ATTRIBUTION: Final = """\
Source, licence and attribution of the files in this folder

Company profiles (topic jude.public.companies)
  Source: remoteintech/remote-jobs on GitHub, head b1dd8deb19 (2026-08-05), company-profiles and src/companies.
  Changed: a choice of 60 companies; e-mail addresses and phone numbers replaced, contact fields hashed.
  Licence: ISC (parts MIT), Copyright (c) 2024 Lene Saile:

  Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby
  granted, provided that the above copyright notice and this permission notice appear in all copies.

  THE SOFTWARE IS PROVIDED "AS IS" AND THE AUTHOR DISCLAIMS ALL WARRANTIES WITH REGARD TO THIS SOFTWARE INCLUDING ALL
  IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS. IN NO EVENT SHALL THE AUTHOR BE LIABLE FOR ANY SPECIAL, DIRECT,
  INDIRECT, OR CONSEQUENTIAL DAMAGES OR ANY DAMAGES WHATSOEVER RESULTING FROM LOSS OF USE, DATA OR PROFITS, WHETHER IN
  AN ACTION OF CONTRACT, NEGLIGENCE OR OTHER TORTIOUS ACTION, ARISING OUT OF OR IN CONNECTION WITH THE USE OR
  PERFORMANCE OF THIS SOFTWARE.
"""


class Readme(Protocol):
    """Makes the texts beside a set: file name -> content."""

    def __call__(self, records: Iterable[Record], files: Mapping[Path, int]) -> dict[str, str]: ...


@dataclass(slots=True)
class Counts:
    """What one table's records hold."""

    ops: Counter[str] = field(default_factory=Counter)
    keys: set[str] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)
    key_changes: int = 0
    placeholders: int = 0


def sample_readme(records: Iterable[Record], files: Mapping[Path, int]) -> dict[str, str]:
    """README.md and ATTRIBUTION of jobs, members and resumes."""
    return {"README.md": _SAMPLE_ABOUT + counts_table(records, files), "ATTRIBUTION": _SAMPLE_ATTRIBUTION}


def companies_readme(records: Iterable[Record], files: Mapping[Path, int]) -> dict[str, str]:
    """README.md and ATTRIBUTION of the companies."""
    return {"README.md": _COMPANIES_ABOUT + counts_table(records, files), "ATTRIBUTION": _COMPANIES_ATTRIBUTION}


def counts_table(records: Iterable[Record], files: Mapping[Path, int]) -> str:
    """The section "What is in it" of a README: counts per table and records per file."""
    counts, control = count(records)
    lines = [
        "\n## What is in it\n",
        f"| table | {' | '.join(OPS)} | keys | key changes | with placeholder | distinct texts |",
        "|---" * (len(OPS) + 5) + "|",
    ]
    for table, found in sorted(counts.items()):
        ops = " | ".join(str(found.ops[op]) for op in OPS)
        rest = f"{len(found.keys)} | {found.key_changes} | {found.placeholders} | {len(found.texts)}"
        lines.append(f"| {table} | {ops} | {rest} |")
    lines.append(
        f"\nControl records: {control}. Distinct texts: white space folded, lists sorted, before any truncation.\n"
    )
    lines.append("| file | records |\n|---|---|")
    lines += [f"| {path.name} | {records} |" for path, records in files.items()]
    return "\n".join(lines) + "\n"


def count(records: Iterable[Record]) -> tuple[dict[str, Counts], int]:
    """Counts per table, and the number of control records. Placeholders are resolved to count texts."""
    counts: dict[str, Counts] = defaultdict(Counts)
    rows: dict[tuple[str, str], Row] = {}
    control = 0
    for record in records:
        if not record["topic"].startswith("jude.public."):
            control += 1
            continue
        table, key, value = record["topic"].rpartition(".")[2], record["key"]["id"], record["value"]
        found = counts[table]
        found.keys.add(key)
        found.ops["tombstone" if value is None else value["op"]] += 1
        if value is None or value["after"] is None:
            continue
        old_key = record["headers"].get("__debezium.oldkey")
        found.key_changes += old_key is not None
        found.placeholders += PLACEHOLDER in value["after"].values()
        known = rows.get((table, _id_of(old_key) if old_key else key), {})
        row = {name: known[name] if sent == PLACEHOLDER else sent for name, sent in value["after"].items()}
        rows[table, key] = row
        found.texts.add(_text(table, row))
    return dict(counts), control


def _id_of(header: str) -> str:
    key: dict[str, str] = json.loads(header)
    return key["id"]


def _text(table: str, row: Row) -> str:
    parts = (row[column] for column in TEXT_COLUMNS[table])
    return "\n".join(" ".join((", ".join(sorted(p)) if isinstance(p, list) else p or "").split()) for p in parts)
