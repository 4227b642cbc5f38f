"""The load mode: hundreds of clients and hundreds of thousands of messages that are not stored.

Everything about a message follows from its place: client `k` of `clients` has
the messages `k`, `k + clients`, `k + 2 * clients`, …, evenly over 58 days and
oldest first. So the process starts at once, needs no memory for them, and finds
the messages of a window by bisection. The same seed and anchor give the same bytes.
"""

from __future__ import annotations

import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import overload

from appliance.core.times import BUCHAREST
from appliance.simulator import generator
from appliance.simulator.companies import client_company
from appliance.simulator.messages import Message, Upload, details

_FIRST_UPLOAD, _FIRST_DOWNLOAD = 6_671_400_000, 7_912_300_000
_SPAN = int((timedelta(days=generator.DAYS) - timedelta(minutes=5)).total_seconds())
_SPECIALS = (
    "attachment", "reverse", "rent", "exempt", "outside", "allowance", "prepaid", "wordy", "zero",
)  # fmt: skip
_CYCLE = 40  # of a client's messages: 29 received, 9 issued, one refused, one a buyer's message
_LETTERS = {
    generator.RECEIVED: "P",
    generator.ISSUED: "T",
    generator.ERRORS: "E",
    generator.BUYER_MESSAGE: "R",
}


@dataclass(frozen=True)
class Crowd:
    """`invoices` messages of `clients` companies, worked out when they are asked for."""

    seed: int
    clients: int
    invoices: int
    anchor: datetime
    _places: dict[str, int] = field(init=False, repr=False, compare=False)  # of each CIF

    def __post_init__(self) -> None:
        places = {self.cif(client): client for client in range(self.clients)}
        object.__setattr__(self, "_places", places)

    @property
    def cifs(self) -> tuple[str, ...]:
        return tuple(self.cif(client) for client in range(self.clients))

    def cif(self, client: int) -> str:
        return client_company(client).cif

    def message(self, message_id: str) -> Message | None:
        index = _index(message_id, _FIRST_DOWNLOAD)
        return self._message(index) if 0 <= index < self.invoices else None

    def upload(self, upload_id: str) -> Upload | None:
        index = _index(upload_id, _FIRST_UPLOAD)
        if not 0 <= index < self.invoices:
            return None
        client, turn = index % self.clients, index // self.clients
        tip, issuer, beneficiary = self._sides(client, turn)
        return Upload(
            upload_id,
            self.cif(client),
            self._created(client, turn),
            "nok" if tip == generator.ERRORS else "ok",
            str(_FIRST_DOWNLOAD + index),
            frozenset({issuer, beneficiary, self.cif(client)}),
        )

    def listed(self, cif: str, start: datetime, end: datetime, filtru: str) -> Sequence[Message]:
        """Return the messages of a CIF created in [start, end], the newest first.

        Each is made when it is taken out of the sequence.
        """
        client = self._places.get(cif)
        if client is None:
            return ()
        turns = range(self._count(client))

        def created(turn: int) -> datetime:
            return self._created(client, turn)

        first = bisect_left(turns, start, key=created)
        after = bisect_right(turns, end, key=created)
        found: Sequence[int] = range(after - 1, first - 1, -1)
        if filtru:
            found = [turn for turn in found if _LETTERS[_tip(turn)] == filtru]
        return _Made(self, client, found)

    def made(self, client: int, turn: int) -> Message:
        return self._message(turn * self.clients + client)

    def _count(self, client: int) -> int:
        whole, rest = divmod(self.invoices, self.clients)
        return whole + (client < rest)

    def _created(self, client: int, turn: int) -> datetime:
        """Later turns are never earlier: each has its own share of the days."""
        share = zlib.crc32(b"%d:%d:%d" % (self.seed, client, turn)) % 1000
        passed = _SPAN * (1000 * turn + share) // (1000 * self._count(client))
        return self.anchor - timedelta(days=generator.DAYS) + timedelta(seconds=passed)

    def _sides(self, client: int, turn: int) -> tuple[str, str, str]:
        tip = _tip(turn)
        if tip == generator.BUYER_MESSAGE:
            _, seller, buyer = self._sides(client, turn - 4)
            return tip, buyer, seller
        seller_of, customer = generator.parties(
            client, tip == generator.RECEIVED, _special(turn), turn
        )
        return tip, generator.digits(seller_of.company.cif), generator.digits(customer.cif)

    def _message(self, index: int) -> Message:
        client, turn = index % self.clients, index // self.clients
        tip, issuer, beneficiary = self._sides(client, turn)
        upload_id = str(_FIRST_UPLOAD + index)
        about = str(_FIRST_UPLOAD + index - 4 * self.clients)
        return Message(
            id=str(_FIRST_DOWNLOAD + index),
            upload_id=upload_id,
            cif=self.cif(client),
            tip=tip,
            details=details(tip, upload_id, issuer, beneficiary, False, about),
            created=self._created(client, turn),
            write=lambda: self._document(client, turn, upload_id, about),
        )

    def _document(self, client: int, turn: int, upload_id: str, about: str) -> bytes:
        tip = _tip(turn)
        if tip == generator.ERRORS:
            errors = generator.ERROR_TEXTS[turn % len(generator.ERROR_TEXTS)]
            return generator.error_document(upload_id, self.cif(client), errors)
        if tip == generator.BUYER_MESSAGE:
            texts = generator.BUYER_TEXTS
            text = texts[turn % len(texts)].format(number=self._number(client, turn - 4))
            return generator.buyer_message(about, text)
        return generator.written(
            f"{self.seed}:crowd:{client}:{turn}",
            client,
            tip == generator.RECEIVED,
            _special(turn),
            self._created(client, turn),
            self._number(client, turn),
            turn,
        )

    def _number(self, client: int, turn: int) -> str:
        """No two invoices of the whole crowd share a number."""
        day = self._created(client, turn).astimezone(BUCHAREST)
        return f"{day:%y}-{client:04d}-{turn:06d}"


@dataclass(frozen=True)
class _Made(Sequence[Message]):
    crowd: Crowd
    client: int
    turns: Sequence[int]

    def __len__(self) -> int:
        return len(self.turns)

    @overload
    def __getitem__(self, place: int) -> Message: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Message]: ...
    def __getitem__(self, place: int | slice) -> Message | Sequence[Message]:
        if isinstance(place, slice):
            return _Made(self.crowd, self.client, self.turns[place])
        return self.crowd.made(self.client, self.turns[place])


def _index(value: str, first: int) -> int:
    return int(value) - first if value.isascii() and value.isdigit() else -1


def _tip(turn: int) -> str:
    place = turn % _CYCLE
    if place == _CYCLE - 2:
        return generator.ERRORS
    if place == _CYCLE - 1:
        return generator.BUYER_MESSAGE
    return generator.RECEIVED if place % 4 != 3 else generator.ISSUED


def _special(turn: int) -> str:
    """One of the twelve received ones has something special."""
    return _SPECIALS[turn // 16 % len(_SPECIALS)] if turn % 16 == 12 else "plain"
