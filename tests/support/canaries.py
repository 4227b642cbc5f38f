"""Looks for secrets in bytes: whole or in pieces, plain or in another writing."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_from_bytes

# A run of so many bytes of any writing counts as found. Less is met by chance: hexadecimal
# digits and the base64 of usual words are everywhere.
PIECE = 20
_CELL = 8
_CHUNK = 16 * 1024 * 1024


@dataclass(frozen=True)
class _Text:
    """One writing of one secret, and how much of it, beside what is public, counts as found."""

    name: str
    text: bytes
    run: int
    open_to_all: bytes  # 1 where it is public


class Canaries:
    """The secrets that must not be there, each with the name that a test reports.

    Every run of `PIECE` bytes is found, wherever it lies: the bytes are cut into
    cells of 8, and the cells compared with all windows of 8 in all writings, so a
    gigabyte takes seconds and a piece of a token is found like the whole.
    """

    def __init__(self) -> None:
        self._texts: list[_Text] = []
        self._public: set[bytes] = set()
        self._places: dict[int, list[tuple[int, int]]] = {}
        self._cells: set[int] = set()

    def is_public(self, text: str) -> None:
        """Say, before the secrets, what may be inside one and everywhere else too."""
        for _, writing in _writings(text.encode()):
            self._public.update(
                writing[start : start + _CELL] for start in range(len(writing) - _CELL + 1)
            )

    def add(self, name: str, secret: str | bytes) -> None:
        plain = secret.encode() if isinstance(secret, str) else secret
        if len(plain) < PIECE:
            raise ValueError(f"{name} is too short to be told from chance")
        for writing, text in _writings(plain):
            if any(text == known.text for known in self._texts):
                continue
            number = len(self._texts)
            # Two bytes a letter: so the run must be twice as long.
            run = 2 * PIECE if writing.startswith("UTF-16") else PIECE
            open_to_all = bytearray(len(text))
            for start in range(len(text) - _CELL + 1):
                if text[start : start + _CELL] in self._public:
                    open_to_all[start : start + _CELL] = b"\1" * _CELL
            self._texts.append(_Text(f"{name}, {writing}", text, run, bytes(open_to_all)))
            for start in range(len(text) - _CELL + 1):
                cell = int.from_bytes(text[start : start + _CELL], sys.byteorder)
                self._cells.add(cell)
                places = self._places.setdefault(cell, [])
                if len(places) < 64:  # what so many share is no secret of one of them
                    places.append((number, start))

    def found(self, data: bytes) -> set[str]:
        """Return what is in there, by name and writing."""
        padded = data + bytes(-len(data) % _CELL)
        names = set()
        # One loop in C over all cells: that is what makes it fast.
        for cell in self._cells.intersection(memoryview(padded).cast("Q")):
            text = cell.to_bytes(_CELL, sys.byteorder)
            at = padded.find(text)
            while at >= 0:
                names.update(
                    self._texts[number].name
                    for number, start in self._places[cell]
                    if self._run(number, start, padded, at)
                )
                at = padded.find(text, at + 1)
        return names

    def found_in(self, path: Path) -> set[str]:
        """Return what is in the file, or in the process memory that it stands for."""
        with path.open("rb") as file:
            return self.found(file.read())

    def found_in_memory(self, pid: int) -> set[str]:
        """Return what is in the memory that the process may write; `OSError` when we may not."""
        names: set[str] = set()
        with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
            for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
                bounds, rights, *_ = line.split(maxsplit=5)
                if not rights.startswith("rw") or line.endswith(("[vvar]", "[vsyscall]")):
                    continue
                start, end = (int(bound, 16) for bound in bounds.split("-"))
                while start < end:
                    try:
                        memory.seek(start)
                        data = memory.read(min(_CHUNK, end - start))
                    except OSError:
                        break  # mapped, and nothing behind it
                    if not data:
                        break
                    names |= self.found(data)
                    start += len(data)
        return names

    def _run(self, number: int, start: int, data: bytes, at: int) -> bool:
        """Tell whether enough bytes around the cell are the same in both."""
        known = self._texts[number]
        text = known.text
        before = after = 0
        while before < start and before < at and text[start - before - 1] == data[at - before - 1]:
            before += 1
        first, other = start + _CELL, at + _CELL
        while (
            first + after < len(text)
            and other + after < len(data)
            and text[first + after] == data[other + after]
        ):
            after += 1
        run = slice(start - before, first + after)
        return known.open_to_all[run].count(0) >= known.run


def _writings(plain: bytes) -> Iterator[tuple[str, bytes]]:
    yield "as it is", plain
    yield "hexadecimal", plain.hex().encode()
    yield "HEXADECIMAL", plain.hex().upper().encode()
    for skip in range(3):  # where in somebody else's base64 it begins
        whole = plain[skip : skip + (len(plain) - skip) // 3 * 3]
        yield "base64", base64.b64encode(whole)
        yield "base64url", base64.urlsafe_b64encode(whole)
    yield "in a URL", quote_from_bytes(plain, safe="").encode()
    if plain.isascii():
        yield "UTF-16", plain.decode().encode("utf-16-le")
        yield "UTF-16 big endian", plain.decode().encode("utf-16-be")
