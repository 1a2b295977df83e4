"""A process of the contract tests: puts positions FIRST, FIRST+2, ... on the same keys and prints what was stored.

python hammer.py KIND PATH FIRST LAST KEYS
"""

from __future__ import annotations

import json
import struct
import sys
from collections import Counter
from datetime import UTC, datetime

from jude.online import Put, open_online
from tests.online.places import Place


def put_at(key: int, step: int) -> Put:
    return Put("m1", "job", f"j{key}", f"{step:08d}", struct.pack("<f", step), "float32", 1)


def main(kind: str, path: str, first: int, last: int, keys: int) -> None:
    store = open_online(Place(kind, path))
    statuses: Counter[str] = Counter()
    for step in range(first, last, 2):
        results = store.put_many([put_at(key, step) for key in range(keys)], datetime.now(UTC))
        statuses.update(result.status for result in results)
    store.close()
    print(json.dumps(statuses))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6]))
