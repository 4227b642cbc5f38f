"""Styles, scripts, fonts and icons: read once at start, served from memory.

A path is a key of a dictionary, so no request reaches the file system. An
address with the file's own hash (`?v=`) may be kept for ever.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

from markupsafe import Markup

_TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
_ICON = "vendor/icon-"


@dataclass(frozen=True)
class StaticFile:
    """One file with what its answer needs."""

    content: bytes
    packed: bytes | None  # gzip, where that is smaller
    media_type: str
    version: str


@cache
def static_files() -> dict[str, StaticFile]:
    """Return every file below `static/` by its path there."""
    return dict(_walk(resources.files("appliance.web").joinpath("static"), ""))


def address(path: str) -> str:
    """Return the address of a file, changing with its content."""
    file = static_files().get(path)
    return f"/static/{path}?v={file.version}" if file else f"/static/{path}"


@cache
def icon(name: str) -> Markup:
    """Return the icon as SVG in the colour of the text, hidden from screen readers.

    Empty when the assets were not built: words stand beside every icon.
    """
    file = static_files().get(f"{_ICON}{name}.svg")
    if file is None:
        return Markup("")
    inner = re.sub(r"^<svg[^>]*>|</svg>\s*$", "", file.content.decode()).strip()
    # Ours and the package's own drawing, never anybody's input.
    return Markup(  # noqa: S704
        f'<svg class="icon" viewBox="0 0 20 20" aria-hidden="true" focusable="false">{inner}</svg>'
    )


def _walk(folder: Traversable, prefix: str) -> list[tuple[str, StaticFile]]:
    found = []
    for entry in folder.iterdir():
        path = prefix + entry.name
        if entry.is_dir():
            found += _walk(entry, f"{path}/")
            continue
        suffix = "." + entry.name.rpartition(".")[2]
        if suffix in _TYPES:
            content = entry.read_bytes()
            packed = gzip.compress(content, 9, mtime=0) if suffix != ".woff2" else None
            found.append(
                (
                    path,
                    StaticFile(
                        content=content,
                        packed=packed if packed and len(packed) < len(content) else None,
                        media_type=_TYPES[suffix],
                        version=hashlib.sha256(content).hexdigest()[:16],
                    ),
                )
            )
    return found
