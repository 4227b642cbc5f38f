"""What our typeface can show and how wide it shows it.

The PDF uses the fonts of the package and no others, so two things are known
before anything is laid out: which characters have a glyph, and how wide a
number will be.
"""

from __future__ import annotations

import html
import unicodedata
from functools import cache
from importlib.resources import files
from io import BytesIO

from anyascii import anyascii
from fontTools.ttLib import TTFont

from appliance.core.errors import ConfigError
from appliance.core.sentence import Sentence

REGULAR = "IBMPlexSans-Regular.woff2"
SEMIBOLD = "IBMPlexSans-SemiBold.woff2"
NAMES = (REGULAR, SEMIBOLD)

_MM_PER_POINT = 25.4 / 72
# Marks that turn the direction of what follows: an amount could be made to read backwards.
_DIRECTION = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def read(name: str) -> bytes:
    """Return a font file of the package; a package built without them is a `ConfigError`."""
    if name not in NAMES:
        raise ValueError(f"{name!r} is no font of the PDF")
    try:
        return files("appliance").joinpath("fonts", name).read_bytes()
    except FileNotFoundError:
        raise ConfigError(
            Sentence(
                "Fonturile lipsesc din pachet: rulează `make assets`, apoi încearcă din nou.",
                "the fonts are missing from the package: run `make assets`, then try again",
            )
        ) from None


def showable(markup: str) -> str:
    """Return the HTML with every character that has no glyph spelled in ASCII, escaped.

    The sender may write in any script; a font of the host must not stand in
    and an empty box would hide what is written. Letters are composed first
    (`s` with a comma below it is `ș`), marks of direction are taken out.
    """
    markup = unicodedata.normalize("NFC", markup)
    foreign = {character for character in set(markup) if not _has_glyph(character)}
    if not foreign:
        return markup
    return markup.translate({ord(character): _spell(character) for character in foreign})


def width(text: str, points: float, *, bold: bool = False) -> float:
    """Return how wide the longest line of a text without wrapping is, in millimetres."""
    advances, units = _metrics(SEMIBOLD if bold else REGULAR)
    longest = max(
        (sum(advances.get(ord(c), units) for c in line) for line in text.split("\n")), default=0
    )
    return longest / units * points * _MM_PER_POINT


def _has_glyph(character: str) -> bool:
    if character in _DIRECTION:
        return False
    return character in "\n\r\t" or ord(character) in _metrics(REGULAR)[0]


def _spell(character: str) -> str:
    if character in _DIRECTION or unicodedata.category(character) in ("Mn", "Cf", "Cc"):
        return ""
    return html.escape(anyascii(character) or f"[U+{ord(character):04X}]")


@cache
def _metrics(name: str) -> tuple[dict[int, int], int]:
    font = TTFont(BytesIO(read(name)), lazy=True)
    advances = font["hmtx"].metrics
    widths = {code: advances[glyph][0] for code, glyph in font.getBestCmap().items()}
    return widths, font["head"].unitsPerEm
