"""HTML to plain text, for text that is markup; Markdown, `a < b` and `<email>` stay as they are.

Regular expressions over a closed list of element names, not a parser: on a 12 kB posting both cost 0.23 ms, but a
parser (selectolax was measured) also swallows `<email>`, `<https://...>` and the rest of a line after `a <b`.
Every expression here is linear in the text, whatever the text is.
"""

from __future__ import annotations

import re
from html import unescape
from html.entities import html5
from typing import Final

_BLOCK: Final = """address article aside blockquote body br caption center dd details dialog div dl dt fieldset
    figcaption figure footer form h1 h2 h3 h4 h5 h6 head header hr html li main nav ol option p pre section select
    summary table tbody tfoot thead title tr ul"""
_SPACED: Final = "td th img iframe input button textarea video audio svg"
_INLINE: Final = """a abbr acronym b bdi bdo big cite code col colgroup data del dfn em font i ins kbd label link mark
    meta noscript o:p q s samp script small span strike strong style sub sup time tt u var wbr"""
_REPLACEMENT: Final[dict[str, str]] = {
    name: replacement
    for names, replacement in ((_BLOCK, "\n"), (_SPACED, " "), (_INLINE, ""))
    for name in names.split()
}
_NAMES: Final = "|".join(sorted(map(re.escape, _REPLACEMENT), key=len, reverse=True))
# Any name, looked up afterwards: an alternation of all names would take twice as long.
_TAG: Final = re.compile(r"</?([a-z][a-z0-9:]{0,10})(?:\s*/?|\s+[a-z][\w:-]*\s*=[^<>]*)>", re.IGNORECASE)
# A lone `<div>` in a sentence about HTML is a word; a closing tag or a line break element is markup.
_LOOKS_LIKE_MARKUP: Final = re.compile(rf"</(?:{_NAMES})\s*>|<(?:br|hr|p|li|img)\b[^<>]*>|<!--", re.IGNORECASE)
_UNREAD: Final = (
    (re.compile(r"<!--"), re.compile(r"-->")),
    (re.compile(r"<script\b[^<>]*>", re.IGNORECASE), re.compile(r"</script\s*>", re.IGNORECASE)),
    (re.compile(r"<style\b[^<>]*>", re.IGNORECASE), re.compile(r"</style\s*>", re.IGNORECASE)),
)
_ESCAPED_AMPERSANDS: Final = re.compile(r"&(?:(?:amp|#0{0,5}38|#[xX]0{0,4}26);)+(?=[#A-Za-z])")
_ENTITY: Final = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")


def strip_markup(text: str) -> str:
    """Decode entities and, if the text looks like markup, drop its tags, comments, scripts and styles.

    A block element becomes a new line, a cell a space, an inline element nothing. Text that was escaped twice (a
    feed within a feed) needs a second call.
    """
    if "&" in text:
        text = _ESCAPED_AMPERSANDS.sub("&", text)
        text = _ENTITY.sub(_decoded, text)
    if "<" not in text or not _LOOKS_LIKE_MARKUP.search(text):
        return text
    for opening, closing in _UNREAD:
        text = _without(text, opening, closing)
    return _TAG.sub(lambda tag: _REPLACEMENT.get(tag[1].lower(), tag[0]), text)


def _decoded(entity: re.Match[str]) -> str:
    # unescape() alone would also read `&notit;` as `¬it;`
    name = entity[0][1:]
    return unescape(entity[0]) if name[0] == "#" or name in html5 else entity[0]


def _without(text: str, opening: re.Pattern[str], closing: re.Pattern[str]) -> str:
    """Cut what lies between the two; an opening that is never closed cuts nothing (a lazy `.*?` would be quadratic)."""
    kept, start = [], 0
    while (first := opening.search(text, start)) and (last := closing.search(text, first.end())):
        kept += [text[start : first.start()], " "]
        start = last.end()
    return "".join(kept) + text[start:]
