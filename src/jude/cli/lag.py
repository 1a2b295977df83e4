"""How far the stream is behind its source, where that can be told without asking a broker."""

from __future__ import annotations

import json
from pathlib import Path

from jude.cli.show import count_of
from jude.settings import Settings
from jude.stream.checkpoint import local_folder


def lag_of(settings: Settings) -> str:
    """Say what of the source is not read yet, by the checkpoint's last committed batch."""
    if settings.source.kind != "files":
        return "Kafka (offsets are in the checkpoint, not in a consumer group: compare them with the broker's)"
    from jude.changes.file_source import FileOffset, FolderCursor

    cursor = FolderCursor(Path(str(settings.source.path)), fail_on_data_loss=False)
    if not cursor.folder.is_dir():
        return f"the folder {cursor.folder} is missing"
    written = _committed_offset(settings.stream.checkpoint)
    try:
        read = FileOffset.from_json(json.loads(written)) if written else FileOffset()
    except (ValueError, KeyError):
        return "unknown: the checkpoint is another source's"
    waiting = cursor.names() - read.done - {read.open_file}
    if not waiting and not read.open_file:
        return "read to its end"
    partly = f", {read.open_file} read up to line {read.lines:,}" if read.open_file else ""
    return f"{count_of(len(waiting), 'file')} not read yet{partly}"


def _committed_offset(checkpoint: str) -> str | None:
    """Read what Spark wrote of the newest committed batch: the last line of its offsets file is the source's own."""
    folder = local_folder(checkpoint)
    if folder is None or not (folder / "commits").is_dir():
        return None
    batches = [int(file.name) for file in (folder / "commits").iterdir() if file.name.isdigit()]
    if not batches:
        return None
    try:
        return (folder / "offsets" / str(max(batches))).read_text().strip().splitlines()[-1]
    except OSError:
        return None
