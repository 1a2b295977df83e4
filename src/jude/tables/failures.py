"""Errors of storage and Delta, told as errors of JUDE: what may pass by itself, and what a person must mend."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import pyarrow as pa
from deltalake.exceptions import CommitFailedError, DeltaError, DeltaProtocolError, SchemaMismatchError

from jude.errors import CommitConflictError, JudeError, TerminalTableError, TransientTableError

_FOR_A_PERSON: Final = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG)
_FOR_A_PERSON_WORDS: Final = ("permission denied", "read-only file system", "not a directory", "access denied")
_DAMAGED_WORDS: Final = (  # whole phrases: a stack of Java frames has words like "deserialize" for every reason
    "magic bytes not found", "deserialize thrift", "deserializing page header", "corrupt snappy", "not a parquet file",
    "requested range was invalid", "parquet file size is",
)  # fmt: skip
_COLOURS: Final = re.compile(r"\x1b\[\d+m")
_BACKTRACE: Final = re.compile(r"^ +0: |^\s+at ", re.MULTILINE)  # frames of the delta kernel, and of Java
_FULL_WORDS: Final = ("no space left", "disk quota exceeded", "os error 28")


@contextmanager
def table_errors(where: str) -> Iterator[None]:
    """Turn what storage raises while `where` is read or written into JUDE's errors."""
    try:
        yield
    except JudeError:
        raise
    except CommitFailedError as error:
        raise CommitConflictError(
            f"{where}: another writer was faster ({error}). The batch is planned again."
        ) from error
    except (DeltaProtocolError, SchemaMismatchError) as error:
        raise TerminalTableError(f"{where} does not fit: {error}. Run `ensure`, or move the table away.") from error
    except pa.ArrowInvalid as error:
        if not is_damaged(error):
            raise
        raise storage_error(where, error) from error
    except (OSError, DeltaError) as error:
        raise storage_error(where, error) from error


@contextmanager
def damage_named(file: Callable[[], str]) -> Iterator[None]:
    """Raise TerminalTableError with the file's name where the block finds that it is no whole Parquet file."""
    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        if not (isinstance(error, pa.ArrowInvalid) or is_damaged(error)):
            raise
        raise _damaged(file(), _words(error)) from error


def is_damaged(error: BaseException) -> bool:
    """Tell a file that holds something else than Parquet from a storage that does not answer."""
    said = str(error).lower()
    cut_short = isinstance(error, OSError) and said.startswith("unexpected end of stream")  # Java says it of a network
    return cut_short or any(words in said for words in _DAMAGED_WORDS)


def _damaged(where: str, words: str) -> TerminalTableError:
    return TerminalTableError(
        f"{where} is damaged: {words.rstrip('.')}. Put it back from a backup; without one, name new tables and a "
        "new checkpoint (tables.root, stream.checkpoint): the source is read again from its beginning."
    )


def _words(error: BaseException) -> str:
    return " ".join(_COLOURS.sub("", _BACKTRACE.split(str(error), maxsplit=1)[0]).split())


def storage_error(where: str, error: BaseException) -> TerminalTableError | TransientTableError:
    """Tell a full disk and an unreachable storage, which pass, from damage and a folder that we may not write."""
    words = _words(error)
    said = words.lower()
    code = getattr(error, "errno", None)
    if code == errno.ENOSPC or any(words in said for words in _FULL_WORDS):
        return TransientTableError(
            f"{where}: no space left on the device. Nothing of this write is visible; free space, it is retried."
        )
    if code in _FOR_A_PERSON or any(words in said for words in _FOR_A_PERSON_WORDS):
        return TerminalTableError(
            f"{where} cannot be written: {words}. Give the job rights on it, or set another root."
        )
    if is_damaged(error):
        return _damaged(where, words)
    return TransientTableError(f"{where} could not be read or written just now: {words}")
