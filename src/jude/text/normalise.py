"""The normal form of a text: what models read, and what decides whether an edit was a real one.

Measured on a busy two-core machine, CPU time per 12 kB text: clean ASCII 0.2 ms, clean Unicode 0.6 ms, HTML 1.6 ms, the
real long postings 0.8 ms in the mean.

ftfy is left out on purpose: repairing "â€™" costs 6 ms per 12 kB text (4 ms even to find that there is nothing to do),
more than the whole pipeline may spend, and it can change text that is right. In 13,500 real postings, profiles and
company pages it would have repaired none.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

from jude.text.markup import strip_markup

RENDER_VERSION: Final = 1
"""Raise it with any change of `normalise` or `render` that changes a single text: every text_hash then changes too."""

_PASSES: Final = 6
# Control characters; soft hyphen; bidi marks, embeddings and isolates; zero-width characters; word joiner; variation
# selectors; BOM; interlinear annotation; tags (invisible letters); lone surrogates. White space is not among them.
_INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f"
    "\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
_JOINERS: Final = re.compile("[\u200c\u200d]+")  # ZWNJ and ZWJ
_ASCII_CONTROLS: Final = dict.fromkeys([*range(0x09), *range(0x0E, 0x1C), 0x7F])


def normalise(text: str, volatile: Sequence[str] = ()) -> str:
    """Give the normal form of a text; `normalise(normalise(x)) == normalise(x)` for every string.

    NFKC; HTML tags dropped and entities decoded where the text is markup; control, zero-width and bidi characters
    dropped, lone surrogates replaced by U+FFFD; runs of white space folded to one space, or to one new line if they
    hold a line break (folding lines too would have made 3 of 748 versions of real postings equal, and models that
    read structure would lose it). `volatile`: regular expressions whose matches, in the normal form, are removed.
    """
    for _ in range(_PASSES):
        before = text
        text = _one_pass(text, volatile)
        if text == before or (not volatile and _is_settled(text)):
            return text
    # Escapes nested deeper than any feed nests them: end it in a form that is stable.
    return _one_pass(text.replace("<", " ").replace("&", " "), volatile)


def _one_pass(text: str, volatile: Sequence[str]) -> str:
    if "<" in text or "&" in text:
        text = strip_markup(text)
    text = _folded(_visible(text))
    for pattern in volatile:
        text = re.sub(pattern, " ", text)
    return _folded(text) if volatile else text


def _is_settled(text: str) -> bool:
    """Tell whether another pass would change nothing: only markup and joiners can leave work for one."""
    if "\u200c" in text or "\u200d" in text:
        return False
    return ("<" not in text and "&" not in text) or strip_markup(text) == text


def _visible(text: str) -> str:
    if text.isascii():
        return text.translate(_ASCII_CONTROLS)  # 14 us; beyond ASCII the same call would take 900
    text = _INVISIBLE.sub(_replaced, text)
    if "\u200c" in text or "\u200d" in text:
        text = _JOINERS.sub(_needed, text)
    return unicodedata.normalize("NFKC", text)


def _replaced(invisible: re.Match[str]) -> str:
    return "\ufffd" if "\ud800" <= invisible[0] <= "\udfff" else ""


def _needed(joiners: re.Match[str]) -> str:
    """Keep joiners between two characters beyond ASCII: Persian and Indic spelling and emoji need them."""
    text, (first, last) = joiners.string, joiners.span()
    before, after = text[max(first - 1, 0) : first], text[last : last + 1]
    return "" if before.isascii() or after.isascii() else joiners[0]


def _folded(text: str) -> str:
    return "\n".join(filter(None, (" ".join(line.split()) for line in text.splitlines())))
